//! AWS on loopback, with connections that are kept open, and that end as real ones do.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::refusal::Loss;
use super::wire::{Call, Delivery, OVERSIZE, Reply};
use super::{UnkindAws, clients, operation};
use crate::partners::{DoubleRequest, read_request};

/// The fate of idle connections. AWS purges them, and a frozen function does not notice ("Best
/// practices for working with AWS Lambda functions").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// FIN, at once.
    Closed,
    /// FIN when the next request arrives.
    ClosedOnUse,
    /// RST when the next request arrives.
    ResetOnUse,
    /// The next request is never answered.
    Silent,
}

/// An endpoint for the real clients, which lives as long as the test's runtime.
#[derive(Clone, Debug)]
pub struct Server {
    aws: UnkindAws,
    address: SocketAddr,
    /// The connections below this number have this state.
    ended: watch::Sender<(u64, Option<Idle>)>,
    opened: Arc<Mutex<u64>>,
    blanks: Arc<AtomicUsize>,
}

impl Server {
    /// Serves `aws`.
    pub async fn start(aws: UnkindAws) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has one");
        let server = Self {
            aws,
            address,
            ended: watch::Sender::new((0, None)),
            opened: Arc::default(),
            blanks: Arc::default(),
        };
        let accepting = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = accepting.next_number();
                tokio::spawn(accepting.clone().converse(stream, number));
            }
        });
        server
    }

    /// The URL.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The real clients over real sockets.
    #[must_use]
    pub fn clients(&self) -> (aws_sdk_dynamodb::Client, aws_sdk_sqs::Client) {
        clients(&self.endpoint(), None)
    }

    /// From now on the currently open connections behave like `idle`; later ones work.
    pub fn end_connections(&self, idle: Idle) {
        self.ended.send_replace((self.connections(), Some(idle)));
    }

    /// The number of connections opened so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        *self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of bytes sent of oversized answers.
    #[must_use]
    pub fn oversized(&self) -> usize {
        self.blanks.load(Ordering::SeqCst)
    }

    fn next_number(&self) -> u64 {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        *opened += 1;
        *opened - 1
    }

    /// Handles the requests of one connection until either end closes it.
    async fn converse(self, mut stream: TcpStream, number: u64) {
        let mut ended = self.ended.subscribe();
        let is_closed = move |(below, idle): &(u64, Option<Idle>)| {
            number < *below && *idle == Some(Idle::Closed)
        };
        loop {
            tokio::select! {
                _ = ended.wait_for(is_closed) => return,
                readable = stream.readable() => if readable.is_err() { return },
            }
            let (below, idle) = *self.ended.borrow();
            match idle.filter(|_| number < below) {
                Some(Idle::ResetOnUse) => {
                    // Unread data makes it an RST.
                    let _ = stream.set_zero_linger();
                    return;
                }
                Some(Idle::Silent) => return std::future::pending().await,
                Some(Idle::Closed) => return,
                Some(Idle::ClosedOnUse) => {
                    let _ = read_request(&mut stream).await;
                    return;
                }
                None => {}
            }
            let Some(request) = read_request(&mut stream).await else {
                return;
            };
            let delivery = self.aws.answer(&call(&request));
            if self.deliver(&mut stream, delivery).await.is_none() {
                return;
            }
        }
    }

    /// Writes the answer; `None` if it ends the connection.
    async fn deliver(&self, stream: &mut TcpStream, delivery: Delivery) -> Option<()> {
        match delivery {
            Delivery::Whole(reply) => {
                let wire = [head(&reply), reply.body].concat();
                stream.write_all(&wire).await.ok()
            }
            Delivery::Half(reply) => {
                let half = &reply.body[..reply.body.len() / 2];
                let wire = [&head(&reply), half].concat();
                // A client that gave up does not read it.
                let _ = stream.write_all(&wire).await;
                None
            }
            Delivery::Oversized(reply) => {
                let head = lines(&reply);
                let head = format!("{head}connection: close\r\n\r\n").into_bytes();
                stream
                    .write_all(&[&head, &*reply.body].concat())
                    .await
                    .ok()?;
                let blanks = vec![b' '; 64 * 1024];
                for _ in 0..OVERSIZE / blanks.len() {
                    stream.write_all(&blanks).await.ok()?;
                    self.blanks.fetch_add(blanks.len(), Ordering::SeqCst);
                }
                None
            }
            Delivery::Lost(Loss::Silence) => std::future::pending().await,
            Delivery::Lost(Loss::Closed) => None,
            Delivery::Lost(Loss::Reset) => {
                let _ = stream.set_zero_linger();
                None
            }
        }
    }
}

fn call(request: &DoubleRequest) -> Call {
    Call {
        operation: operation(request.header("x-amz-target")),
        body: serde_json::from_slice(&request.body).unwrap_or_default(),
    }
}

fn head(reply: &Reply) -> Vec<u8> {
    let length = reply.body.len();
    format!("{}content-length: {length}\r\n\r\n", lines(reply)).into_bytes()
}

/// The status line and the reply's own headers.
fn lines(reply: &Reply) -> String {
    let status = format!("HTTP/1.1 {} -\r\n", reply.status);
    let headers = reply.headers.iter();
    headers.fold(status, |lines, (name, value)| {
        lines + name + ": " + value + "\r\n"
    })
}
