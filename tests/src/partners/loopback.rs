//! A small HTTP/1.1 server on loopback that can also break off, drip and fall silent. One request for
//! each connection.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// How an answer gets to the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Whole: status and body.
    Whole(u16, String),
    /// Not at all: the connection is closed without a byte.
    Lost,
    /// The head and half of the body, then the connection is closed.
    Half(u16, String),
    /// The head at once, the body by one byte a second.
    Drip(u16, String),
}

/// A request as it was read from the wire.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

/// A running server; it ends with the test's runtime.
#[derive(Clone, Debug)]
pub struct Loopback {
    /// Its address, `http://127.0.0.1:…`.
    pub base: String,
    dripped: Arc<Notify>,
}

impl Loopback {
    /// Serves what `answer` makes of method, path with query, headers and body.
    pub async fn serve<F>(answer: F) -> Self
    where
        F: Fn(&str, &str, &[(String, String)], &str) -> Delivery + Send + Sync + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has one");
        let dripped = Arc::new(Notify::new());
        let told = Arc::clone(&dripped);
        let answer = Arc::new(answer);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, told) = (Arc::clone(&answer), Arc::clone(&told));
                tokio::spawn(async move {
                    // A caller that hangs up is its own affair.
                    let _ = converse(stream, &*answer, &told).await;
                });
            }
        });
        Self {
            base: format!("http://{address}"),
            dripped,
        }
    }

    /// Waits until the first byte of a dripping body is out.
    pub fn dripped(&self) -> impl Future<Output = ()> + '_ {
        self.dripped.notified()
    }
}

async fn converse<F>(mut stream: TcpStream, answer: &F, dripped: &Notify) -> std::io::Result<()>
where
    F: Fn(&str, &str, &[(String, String)], &str) -> Delivery,
{
    let Some(request) = receive(&mut stream).await? else {
        return Ok(());
    };
    let delivery = answer(
        &request.method,
        &request.path,
        &request.headers,
        &request.body,
    );
    match delivery {
        Delivery::Lost => Ok(()),
        Delivery::Whole(status, body) => {
            stream.write_all(head(status, &body).as_bytes()).await?;
            stream.write_all(body.as_bytes()).await?;
            stream.shutdown().await
        }
        Delivery::Half(status, body) => {
            stream.write_all(head(status, &body).as_bytes()).await?;
            stream.write_all(&body.as_bytes()[..body.len() / 2]).await?;
            stream.shutdown().await
        }
        Delivery::Drip(status, body) => {
            stream.write_all(head(status, &body).as_bytes()).await?;
            for byte in body.bytes() {
                stream.write_all(&[byte]).await?;
                dripped.notify_one();
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            stream.shutdown().await
        }
    }
}

fn head(status: u16, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} Played\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n",
        body.len()
    )
}

/// Reads one request; `None` where the caller hangs up before it is whole.
async fn receive(stream: &mut TcpStream) -> std::io::Result<Option<Received>> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.lines();
    let mut first = lines.next().unwrap_or_default().split(' ');
    let mut word = || first.next().unwrap_or_default().to_owned();
    let (method, path) = (word(), word());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length: usize = length.and_then(|(_, text)| text.parse().ok()).unwrap_or(0);
    while bytes.len() < end + length {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(Received {
        method,
        path,
        headers,
        body: String::from_utf8_lossy(&bytes[end..end + length]).into_owned(),
    }))
}
