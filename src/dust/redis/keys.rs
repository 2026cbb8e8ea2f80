//! Removes all keys of a fleet, for drills: no instance does this.

use redis::{Client, RedisResult, cmd};

/// Removes all keys with a prefix in them, in one step.
pub async fn forget(url: &str, prefix: &str) -> RedisResult<()> {
    let client = Client::open(url)?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let script = "for _, key in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('UNLINK', key) end";
    let mut command = cmd("EVAL");
    command.arg(script).arg(0).arg(format!("*{prefix}*"));
    command.query_async(&mut connection).await
}

/// Removes all keys with a prefix in them.
pub async fn sweep(url: &str, prefix: &str) -> RedisResult<()> {
    let client = Client::open(url)?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let mut cursor = 0;
    loop {
        let (next, keys): (u64, Vec<Vec<u8>>) = cmd("SCAN")
            .arg(cursor)
            .arg("MATCH")
            .arg(format!("*{prefix}*"))
            .arg("COUNT")
            .arg(1000)
            .query_async(&mut connection)
            .await?;
        for key in keys {
            let () = cmd("UNLINK").arg(key).query_async(&mut connection).await?;
        }
        cursor = next;
        if cursor == 0 {
            return Ok(());
        }
    }
}
