//! The line between one instance and the store, which a test can cut while the others keep theirs.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A line to one port. Gone with this value.
pub struct Line {
    pub at: SocketAddr,
    whole: Arc<watch::Sender<bool>>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Line {
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let whole = Arc::new(watch::Sender::new(true));
        let state = whole.clone();
        let accepting = tokio::spawn(async move {
            loop {
                let Ok((near, _)) = listener.accept().await else { continue };
                let mut whole = state.subscribe();
                tokio::spawn(async move {
                    let carried = async {
                        let mut near = near;
                        let mut far = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
                        copy_bidirectional(&mut near, &mut far).await.ok()
                    };
                    tokio::select! {
                        _ = carried => {}
                        // Dropped with both its ends. Cut already, it is closed at once.
                        _ = whole.wait_for(|whole| !whole) => {}
                    }
                });
            }
        });
        Self { at, whole, accepting }
    }

    pub fn cut(&self) {
        self.whole.send_replace(false);
    }

    pub fn mend(&self) {
        self.whole.send_replace(true);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
