//! An S3 server over a directory: `s3server DIRECTORY ACCESS_KEY SECRET_KEY`. A bucket is a
//! directory in it, an object a file. Listens on a port of 127.0.0.1 that the system chose, says
//! `listening on http://…`, and ends when its input does.

use std::io::Read as _;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, access, secret] = arguments.as_slice() else {
        panic!("s3server DIRECTORY ACCESS_KEY SECRET_KEY");
    };
    let files = FileSystem::new(directory).expect("the directory can be opened");
    let mut service = S3ServiceBuilder::new(files);
    service.set_auth(SimpleAuth::from_single(access.as_str(), secret.as_str()));
    let service = service.build();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    println!("listening on http://{}", listener.local_addr().expect("it is bound"));
    // Whoever started it holds the other end: it does not outlive them.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    loop {
        let Ok((socket, _)) = listener.accept().await else { continue };
        let service = service.clone();
        tokio::spawn(async move {
            let _ = Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(socket), service)
                .await;
        });
    }
}
