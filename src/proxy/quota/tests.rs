mod pauses;
mod rates;
mod support;
