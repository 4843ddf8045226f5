//! Counting round trips.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// Stands between client and server and counts how often the client waits for an answer: simple queries and syncs.
pub async fn counting_proxy(port: u16) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (own, count) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
            let counted = Arc::clone(&counted);
            tokio::spawn(async move {
                let (mut first, mut watches) = (true, false);
                loop {
                    // The first message has no type.
                    let mut head = vec![0; if first { 4 } else { 5 }];
                    if from_client.read_exact(&mut head).await.is_err() {
                        return;
                    }
                    let kind = (!first).then(|| head[0]);
                    let length = u32::from_be_bytes(head[head.len() - 4..].try_into().unwrap()) as usize - 4;
                    let mut body = vec![0; length];
                    from_client.read_exact(&mut body).await.unwrap();
                    // On a slow machine somebody looks what a statement waits for.
                    watches |= first && body.windows(7).any(|part| part == b"watcher");
                    if !watches && matches!(kind, Some(b'Q' | b'S')) {
                        counted.fetch_add(1, Ordering::SeqCst);
                    }
                    first = false;
                    to_server.write_all(&[head, body].concat()).await.unwrap();
                }
            });
        }
    });
    (own, count)
}
