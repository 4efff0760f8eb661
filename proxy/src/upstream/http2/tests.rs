use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use http::Version;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::LocalSet;

use super::*;
use crate::hosts::Hosts;
use crate::metrics::Metrics;
use crate::settings::ConnectionLimits;
use crate::upstream::Connector;

/// A backend that says it speaks HTTP/2, and nothing more.
async fn silent() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn_local(async move {
        let mut held = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"\0\0\0\x04\0\0\0\0\0").await.unwrap();
            held.push(stream);
        }
    });
    address
}

/// Sends a request, gives it up `seconds` later, and returns the connection that had it.
async fn given_up(upstreams: &Upstreams, dial: &Dial<'_>, seconds: u32) -> Rc<Connection> {
    let mut request = Box::new(Request::new(UpstreamBody::Empty));
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = "/a".parse().unwrap();
    request.headers_mut().insert(HOST, "backend.example".parse().unwrap());
    let pool = upstreams.http2_pool(dial);
    let mut sending = pin!(send(upstreams, dial, request));
    let connection = poll_fn(|cx| {
        assert!(sending.as_mut().poll(cx).is_pending());
        match pool.connections.borrow().iter().find(|connection| connection.streams.get() == 1) {
            Some(connection) => Poll::Ready(Rc::clone(connection)),
            None => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    });
    let connection = connection.await;
    upstreams.clock.set(upstreams.clock.get() + seconds);
    connection
}

#[tokio::test]
async fn a_connection_that_went_silent_is_used_for_nothing_new() {
    let test = async {
        let metrics = Rc::new(Metrics::new().worker());
        let upstreams = Upstreams::new(Connector::from_system(Hosts::default()), ConnectionLimits::default(), metrics);
        let dial = Dial { address: silent().await, tls: None };
        let first = given_up(&upstreams, &dial, 1).await;
        let second = given_up(&upstreams, &dial, SILENT_SECONDS).await;
        assert!(Rc::ptr_eq(&first, &second), "a client that is in a hurry says nothing about the backend");
        let third = given_up(&upstreams, &dial, 1).await;
        assert!(!Rc::ptr_eq(&second, &third));
        assert_eq!((second.streams.get(), third.streams.get()), (0, 0));
    };
    LocalSet::new().run_until(test).await;
}
