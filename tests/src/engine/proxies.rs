//! Proxies that read what clients send: to count round trips, to send something else, or to send it later.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// Looks at a message of a client, and may change it: its type, none for the first one of a connection, and the rest without its length.
type Look = Arc<dyn Fn(Option<u8>, &mut Vec<u8>) + Send + Sync>;

/// Stands between client and server and counts how often the client waits for an answer: simple queries and syncs.
pub async fn counting_proxy(port: u16) -> (u16, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let own = proxy(port, move || {
        let (counted, watches) = (Arc::clone(&counted), AtomicBool::new(false));
        Arc::new(move |kind, body: &mut Vec<u8>| {
            // On a slow machine somebody looks what a statement waits for.
            if kind.is_none() && body.windows(7).any(|part| part == b"watcher") {
                watches.store(true, Ordering::SeqCst);
            }
            if !watches.load(Ordering::SeqCst) && matches!(kind, Some(b'Q' | b'S')) {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        })
    });
    (own.await, count)
}

/// Stands between client and server, and sends another query in place of the first one that is this, on each connection. It has to be
/// of the same length.
pub async fn replacing_proxy(port: u16, query: &'static str, other: &'static str) -> (u16, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let own = proxy(port, move || {
        let (counted, done) = (Arc::clone(&counted), AtomicBool::new(false));
        Arc::new(move |kind, body: &mut Vec<u8>| {
            let is_it = kind == Some(b'Q') && body.strip_suffix(b"\0") == Some(query.as_bytes());
            if is_it && !done.swap(true, Ordering::SeqCst) {
                body[..query.len()].copy_from_slice(other.as_bytes());
                counted.fetch_add(1, Ordering::SeqCst);
            }
        })
    });
    (own.await, count)
}

/// Stands between a client and a server that is far away: an answer comes so much later.
pub async fn distant_proxy(port: u16, later: Duration) -> u16 {
    proxy_of(port, later, || Arc::new(|_, _: &mut Vec<u8>| {})).await
}

async fn proxy(port: u16, look: impl Fn() -> Look + Send + 'static) -> u16 {
    proxy_of(port, Duration::ZERO, look).await
}

async fn proxy_of(port: u16, later: Duration, look: impl Fn() -> Look + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            // A message that waits for the acknowledgement of the one before takes 40 ms.
            client.set_nodelay(true).unwrap();
            server.set_nodelay(true).unwrap();
            let (from_client, mut to_client) = client.into_split();
            let (mut from_server, to_server) = server.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
            tokio::spawn(forward(from_client, to_server, later, look()));
        }
    });
    own
}

async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, later: Duration, look: Look) {
    let mut first = true;
    loop {
        // The first message has no type.
        let mut head = vec![0; if first { 4 } else { 5 }];
        if from.read_exact(&mut head).await.is_err() {
            return;
        }
        let kind = (!first).then(|| head[0]);
        let length = u32::from_be_bytes(head[head.len() - 4..].try_into().unwrap()) as usize - 4;
        let mut body = vec![0; length];
        from.read_exact(&mut body).await.unwrap();
        look(kind, &mut body);
        // Those that wait for an answer.
        if !later.is_zero() && matches!(kind, Some(b'Q' | b'S')) {
            tokio::time::sleep(later).await;
        }
        // Whether the server speaks TLS is asked before.
        first &= body == 80_877_103_u32.to_be_bytes();
        to.write_all(&[head, body].concat()).await.unwrap();
    }
}
