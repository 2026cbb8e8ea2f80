//! A caller whose waker panics: it takes down the thread that answers it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

/// What the panic says.
pub const TEXT: &str = "a waker that panics";

/// Panics once, when it is woken on a thread of this name.
struct Panics {
    thread: &'static str,
    has_panicked: AtomicBool,
}

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        let is_there = std::thread::current().name() == Some(self.thread);
        assert!(!is_there || self.has_panicked.swap(true, Ordering::Relaxed), "{TEXT}");
    }
}

/// Begins a call, and polls it once, so that whatever wakes it on the thread of this name panics there. One that is
/// answered at once wakes nobody: then another one is begun.
pub fn on_answer<F: Future>(thread: &'static str, begin: impl Fn() -> F) -> Pin<Box<F>> {
    loop {
        let waker = Waker::from(Arc::new(Panics { thread, has_panicked: AtomicBool::new(false) }));
        let mut call = Box::pin(begin());
        if call.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            return call;
        }
    }
}
