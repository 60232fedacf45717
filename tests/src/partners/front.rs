//! The fronts between a partner's client and its double: a connector within the process, for the
//! simulator and for tests that hold a request on its way, and a server on loopback, for what only
//! a socket can show. In both, a [`Passage`] decides what happens to each request.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// A request to a double.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoubleRequest {
    /// The method, such as `POST`.
    pub method: String,
    /// The path from the root, with its query.
    pub path: String,
    /// The headers; names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body; may be empty.
    pub body: Vec<u8>,
}

impl DoubleRequest {
    /// The request of a client within the process.
    pub(crate) fn from_http(request: &HttpRequest) -> Self {
        let headers = request.headers().iter();
        Self {
            method: request.method().to_owned(),
            path: path_of(request.uri()),
            headers: headers
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                .collect(),
            body: request.body().bytes().unwrap_or_default().to_vec(),
        }
    }

    /// A header's value; `name` is in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// A double's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoubleReply {
    /// The HTTP status.
    pub status: u16,
    /// The body; may be empty.
    pub body: Vec<u8>,
}

impl DoubleReply {
    /// An answer with this body.
    #[must_use]
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            body: body.into(),
        }
    }
}

/// A partner that keeps books: its answers depend only on them and on the request.
pub trait PartnerDouble: Send + Sync + fmt::Debug + 'static {
    /// Carries the request out and answers it.
    fn handle(&self, request: &DoubleRequest) -> DoubleReply;

    /// Fails, before or after it has carried out the request. A partner that repeats its answers
    /// repeats this failure, too.
    fn fail(&self, request: &DoubleRequest, when: Failing) -> DoubleReply {
        if when == Failing::Afterwards {
            self.handle(request);
        }
        DoubleReply::new(500, "{}")
    }
}

/// When a partner fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failing {
    /// Before it has done anything.
    AtOnce,
    /// Once the request is carried out.
    Afterwards,
}

/// What happens to a request or its answer on the way.
#[derive(Clone, Debug)]
pub enum Mishap {
    /// It never arrives. The client waits in vain or sees the connection close.
    RequestLost,
    /// It is carried out, but its answer never arrives.
    AnswerLost,
    /// It is not delivered; this answer is returned instead.
    Instead(DoubleReply),
    /// It is carried out; this answer is returned instead of the double's.
    Garbled(DoubleReply),
    /// It is carried out; the answer breaks off in the middle.
    BrokenOff,
    /// It is carried out; the answer arrives at one byte per second. Within the process it never
    /// arrives.
    Dripped,
    /// It is carried out; the answer is not JSON.
    NotJson,
    /// It is carried out; the answer is longer than 600 KiB.
    Enormous,
    /// The partner fails with 500, and nothing is done.
    Failed,
    /// It is carried out, but the answer is 500.
    FailedAfterwards,
    /// It is held before it arrives, until the gate is opened.
    Held(Gate),
}

/// The state of a kept-open connection when it is used again, after the function that holds it was
/// frozen ("Best practices for working with AWS Lambda functions": idle connections are purged, and
/// reusing one results in a connection error).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// The next request is answered with RST.
    Reset,
    /// The next request is never answered.
    Silent,
    /// It was closed while idle.
    Closed,
}

impl Idle {
    /// All states.
    pub const ALL: [Self; 3] = [Self::Reset, Self::Silent, Self::Closed];
}

/// A gate that holds a request.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<GateState>);

#[derive(Debug, Default)]
struct GateState {
    arrived: Notify,
    opened: Notify,
}

impl Gate {
    /// Waits until a request has reached the gate.
    pub async fn arrived(&self) {
        self.0.arrived.notified().await;
    }

    /// Lets the request continue.
    pub fn open(&self) {
        self.0.opened.notify_one();
    }

    async fn pass(&self) {
        self.0.arrived.notify_one();
        self.0.opened.notified().await;
    }
}

/// Decides what happens to each request.
pub trait Passage: Send + Sync + fmt::Debug + 'static {
    /// The mishap of this request; `None` for none. It MAY take time: here the simulator runs other
    /// tasks, and freezes or kills the caller.
    fn fate<'a>(
        &'a self,
        request: &'a DoubleRequest,
    ) -> Pin<Box<dyn Future<Output = Option<Mishap>> + Send + 'a>>;
}

/// Mishaps, in the order in which a test planned them.
#[derive(Debug, Default)]
struct Planned(Mutex<Vec<(&'static str, &'static str, Mishap)>>);

impl Passage for Planned {
    fn fate<'a>(
        &'a self,
        request: &'a DoubleRequest,
    ) -> Pin<Box<dyn Future<Output = Option<Mishap>> + Send + 'a>> {
        let mut planned = lock(&self.0);
        let next = planned
            .iter()
            .position(|(method, part, _)| request.method == *method && request.path.contains(part));
        let mishap = next.map(|index| planned.remove(index).2);
        Box::pin(std::future::ready(mishap))
    }
}

/// A double behind its fronts. Clones share the plan and the recorded requests.
#[derive(Clone, Debug)]
pub struct Front {
    double: Arc<dyn PartnerDouble>,
    passage: Arc<dyn Passage>,
    planned: Arc<Planned>,
    seen: Arc<Mutex<Vec<DoubleRequest>>>,
    dripped: Arc<Notify>,
}

impl Front {
    /// A front where only planned mishaps ([`Front::plan`]) happen.
    #[must_use]
    pub fn new(double: Arc<dyn PartnerDouble>) -> Self {
        let planned = Arc::new(Planned::default());
        Self {
            double,
            passage: planned.clone(),
            planned,
            seen: Arc::default(),
            dripped: Arc::default(),
        }
    }

    /// A front where `passage` decides and [`Front::plan`] has no effect.
    #[must_use]
    pub fn with_passage(double: Arc<dyn PartnerDouble>, passage: Arc<dyn Passage>) -> Self {
        Self {
            passage,
            ..Self::new(double)
        }
    }

    /// Plans this mishap for the next request with that method and with `path_part` in its path.
    /// Planned twice, it happens twice.
    pub fn plan(&self, method: &'static str, path_part: &'static str, mishap: Mishap) {
        lock(&self.planned.0).push((method, path_part, mishap));
    }

    /// Every request that was sent, whether or not it arrived.
    #[must_use]
    pub fn seen(&self) -> Vec<DoubleRequest> {
        lock(&self.seen).clone()
    }

    /// Waits until the first byte of a slow answer's body was sent.
    pub async fn dripped(&self) {
        self.dripped.notified().await;
    }

    /// The front within the process.
    #[must_use]
    pub fn connector(&self) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }

    /// A server on loopback, for as long as the test's runtime lives; returns its base URL.
    #[must_use]
    pub fn serve(&self) -> String {
        self.serve_with(|front, stream| Box::pin(front.converse(stream)))
    }

    /// A server that keeps each connection open after its first answer, as partners do, and then
    /// treats it like this.
    #[must_use]
    pub fn serve_and_leave(&self, idle: Idle) -> String {
        self.serve_with(move |front, stream| Box::pin(front.converse_once(stream, idle)))
    }

    fn serve_with(
        &self,
        converse: impl Fn(Self, TcpStream) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + 'static,
    ) -> String {
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = std::net::TcpListener::bind(any_port).expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has one");
        listener
            .set_nonblocking(true)
            .expect("a fresh socket takes it");
        let listener = TcpListener::from_std(listener).expect("a test has a runtime");
        let front = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(front.clone(), stream));
            }
        });
        format!("http://{address}")
    }

    /// Passes a request on, as its mishap allows.
    async fn pass(&self, request: DoubleRequest) -> Passed {
        lock(&self.seen).push(request.clone());
        let mishap = self.passage.fate(&request).await;
        match mishap {
            None => Passed::Answered(self.double.handle(&request)),
            Some(Mishap::RequestLost) => Passed::Lost,
            Some(Mishap::Instead(reply)) => Passed::Answered(reply),
            Some(Mishap::AnswerLost) => {
                self.double.handle(&request);
                Passed::Lost
            }
            Some(Mishap::Garbled(reply)) => {
                self.double.handle(&request);
                Passed::Answered(reply)
            }
            Some(Mishap::BrokenOff) => Passed::BrokenOff(self.double.handle(&request)),
            Some(Mishap::Dripped) => Passed::Dripped(self.double.handle(&request)),
            Some(Mishap::NotJson) => Passed::Answered(DoubleReply {
                body: b"{\"id\":".to_vec(),
                ..self.double.handle(&request)
            }),
            Some(Mishap::Enormous) => {
                let mut reply = self.double.handle(&request);
                let filler = format!("\"x\":\"{}\",", "x".repeat(600 * 1024));
                // After the opening brace.
                reply.body.splice(1..1, filler.into_bytes());
                Passed::Answered(reply)
            }
            Some(Mishap::Failed) => Passed::Answered(self.double.fail(&request, Failing::AtOnce)),
            Some(Mishap::FailedAfterwards) => {
                Passed::Answered(self.double.fail(&request, Failing::Afterwards))
            }
            Some(Mishap::Held(gate)) => {
                gate.pass().await;
                Passed::Answered(self.double.handle(&request))
            }
        }
    }

    /// One request on one connection.
    async fn converse(self, mut stream: TcpStream) {
        let Some(request) = read_request(&mut stream).await else {
            return;
        };
        // The client may have given up waiting and may not read the answer.
        let _ = match self.pass(request).await {
            Passed::Lost => return,
            Passed::Answered(reply) => stream.write_all(&on_the_wire(&reply, "close")).await,
            Passed::BrokenOff(reply) => {
                let wire = on_the_wire(&reply, "close");
                let half = wire.len() - reply.body.len().div_ceil(2);
                stream.write_all(&wire[..half]).await
            }
            Passed::Dripped(reply) => self.drip(&mut stream, &reply).await,
        };
    }

    /// One request on a connection that stays open.
    async fn converse_once(self, mut stream: TcpStream, idle: Idle) {
        let Some(request) = read_request(&mut stream).await else {
            return;
        };
        let Passed::Answered(reply) = self.pass(request).await else {
            return;
        };
        let wire = on_the_wire(&reply, "keep-alive");
        if stream.write_all(&wire).await.is_err() || idle == Idle::Closed {
            return;
        }
        // A client that gives up on the connection closes it.
        if stream.readable().await.is_ok() && idle == Idle::Silent {
            std::future::pending::<()>().await;
        }
        // A connection that is closed with unread data is reset (RFC 9293, "Half-Closed
        // Connections").
    }

    async fn drip(&self, stream: &mut TcpStream, reply: &DoubleReply) -> std::io::Result<()> {
        let wire = on_the_wire(reply, "close");
        let (head, body) = wire.split_at(wire.len() - reply.body.len());
        stream.write_all(head).await?;
        for byte in body {
            stream.write_all(&[*byte]).await?;
            self.dripped.notify_one();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Ok(())
    }
}

/// How far a request and its answer got.
enum Passed {
    Lost,
    Answered(DoubleReply),
    BrokenOff(DoubleReply),
    Dripped(DoubleReply),
}

impl HttpConnector for Front {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let front = self.clone();
        let request = DoubleRequest::from_http(&request);
        HttpConnectorFuture::new(async move {
            let lost = || ConnectorError::io("played: the connection closed".into());
            let reply = match front.pass(request).await {
                Passed::Answered(reply) => reply,
                Passed::Lost | Passed::BrokenOff(_) => return Err(lost()),
                Passed::Dripped(_) => std::future::pending().await,
            };
            let status = reply.status.try_into().map_err(|_| lost())?;
            Ok(HttpResponse::new(status, SdkBody::from(reply.body)))
        })
    }
}

/// The path and query of an absolute URI.
fn path_of(uri: &str) -> String {
    let after_scheme = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    let path = after_scheme.find('/').map(|start| &after_scheme[start..]);
    path.unwrap_or("/").to_owned()
}

fn on_the_wire(reply: &DoubleReply, connection: &str) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {} -\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: {connection}\r\n\r\n",
        reply.status,
        reply.body.len()
    );
    [head.as_bytes(), &reply.body].concat()
}

/// Reads one HTTP/1.1 request with a `content-length` (RFC 9112, "Message Format"); `None` if the
/// client disconnects.
pub(crate) async fn read_request(stream: &mut TcpStream) -> Option<DoubleRequest> {
    let mut bytes = Vec::new();
    let end = loop {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = end {
            break end;
        }
        read_more(stream, &mut bytes).await?;
    };
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.get("content-length");
    let length: usize = length.map_or(Some(0), |length| length.parse().ok())?;
    let body_start = end + 4;
    while bytes.len() < body_start + length {
        read_more(stream, &mut bytes).await?;
    }
    Some(DoubleRequest {
        method,
        path,
        headers,
        body: bytes[body_start..body_start + length].to_vec(),
    })
}

async fn read_more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<()> {
    match stream.read_buf(bytes).await {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(()),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
