//! A way to a server that a test holds shut, opens and breaks: no download ends before the test lets it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::support::{Link, Server, wait_for};

/// Connections that lead to a server. Dropped, it leads nowhere.
pub struct Gate {
    url: String,
    server: String,
    ways: Arc<Ways>,
    accepting: JoinHandle<()>,
}

/// What every connection through the gate shares.
struct Ways {
    /// How many bytes may come down, over all connections, and how many came.
    down: watch::Sender<(u64, u64)>,
    /// Held by every connection since the last cut.
    held: Mutex<watch::Sender<()>>,
    /// What went up, a connection each.
    up: Mutex<Vec<Vec<u8>>>,
    /// No new ones.
    shut: AtomicBool,
    /// The status of each answer.
    answers: Mutex<Vec<u16>>,
    /// Nothing comes down any more once a head with all of these went up.
    trap: Mutex<Option<Vec<String>>>,
}

impl Gate {
    /// Lets so many bytes down from the server, heads and all.
    pub async fn before(server: &Server, allowed: u64) -> Self {
        Self::to(server.address(), allowed).await
    }

    /// [`Gate::before`] a server of any kind.
    pub async fn to(server: &str, allowed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (down, held) = (watch::Sender::new((allowed, 0)), Mutex::default());
        let (up, answers, shut, trap) =
            (Mutex::default(), Mutex::default(), AtomicBool::default(), Mutex::default());
        let ways = Arc::new(Ways { down, held, up, shut, answers, trap });
        let (shared, to) = (Arc::clone(&ways), server.to_owned());
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // A server that is gone takes nobody, and neither does a gate that is shut.
                if !shared.shut.load(Ordering::SeqCst)
                    && let Ok(server) = TcpStream::connect(&to).await
                {
                    let ways = Arc::clone(&shared);
                    tokio::spawn(async move { ways.lead(client, server).await });
                }
            }
        });
        Self { url, server: format!("http://{server}"), ways, accepting }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.url.strip_prefix("http://").unwrap().parse().unwrap()
    }

    /// The request lines that went up, of all connections.
    pub fn requests(&self) -> Vec<String> {
        let up = self.ways.up.lock().unwrap();
        let texts: Vec<_> = up.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect();
        let lines = texts.iter().flat_map(|text| text.split("\r\n"));
        // The body of a request before may stand in front.
        let line = |line: &str| {
            let line = line.strip_suffix(" HTTP/1.1")?;
            let methods = ["GET /", "PUT /", "POST /", "HEAD /", "DELETE /"];
            let at = methods.iter().filter_map(|method| line.rfind(method)).max()?;
            Some(line[at..].to_owned())
        };
        lines.filter_map(line).collect()
    }

    /// New connections are closed at once; those that there are stay.
    pub fn shut(&self, shut: bool) {
        self.ways.shut.store(shut, Ordering::SeqCst);
    }

    /// The link as it is behind the gate.
    pub fn link(&self, link: &Link) -> Link {
        let here = |url: &str| url.replace(&self.server, &self.url);
        Link { whole: here(&link.whole), url: here(&link.url), ..link.clone() }
    }

    /// Lets so many bytes down in all, counted from the beginning.
    pub fn allow(&self, bytes: u64) {
        self.ways.down.send_modify(|(allowed, _)| *allowed = bytes);
    }

    /// Lets so many bytes more down than have come.
    pub fn allow_more(&self, bytes: u64) {
        self.ways.down.send_modify(|(allowed, came)| *allowed = *came + bytes);
    }

    /// Lets nothing down any more from when a request with all of these goes up, and then waits for that.
    pub fn shut_at(&self, texts: &[&str]) -> impl Future<Output = ()> {
        *self.ways.trap.lock().unwrap() = Some(texts.iter().map(|text| (*text).to_owned()).collect());
        let ways = Arc::clone(&self.ways);
        async move {
            let sprung = || async { ways.trap.lock().unwrap().is_none().then_some(()) };
            wait_for("the request that shuts the gate", sprung).await;
        }
    }

    pub fn open(&self) {
        self.allow(u64::MAX);
    }

    /// Waits until all that was allowed came down.
    pub async fn is_reached(&self) {
        let all = || async {
            let (allowed, came) = *self.ways.down.borrow();
            (came >= allowed).then_some(())
        };
        wait_for("the bytes that the gate lets down", all).await;
    }

    /// Breaks every connection that there is; new ones may come at once.
    pub fn break_off(&self) {
        self.ways.cut();
    }

    /// Breaks every connection that there is, and waits until none of them is left; new ones may come meanwhile.
    pub async fn cut(&self) {
        let held = self.ways.cut();
        wait_for("the connections to break", async || held.is_closed().then_some(())).await;
    }

    /// The status of each answer that came down.
    pub fn answers(&self) -> Vec<u16> {
        self.ways.answers.lock().unwrap().clone()
    }

    /// The heads of the GETs for this address, by connection.
    pub fn gets(&self, url: &str) -> Vec<String> {
        let line = format!("GET {} HTTP/1.1\r\n", url.strip_prefix(&self.url).unwrap());
        let up = self.ways.up.lock().unwrap();
        let texts: Vec<_> = up.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect();
        let heads = texts.iter().flat_map(|text| text.split_inclusive("\r\n\r\n"));
        // The body of a request before may stand in front.
        heads.filter_map(|head| Some(head[head.find(&line)?..].to_owned())).collect()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.accepting.abort();
        self.ways.cut();
    }
}

/// A header's value in a head.
pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let fields = head.lines().filter_map(|line| line.split_once(": "));
    fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
}

impl Ways {
    fn cut(&self) -> watch::Sender<()> {
        let held = std::mem::take(&mut *self.held.lock().unwrap());
        held.send_replace(());
        held
    }

    async fn lead(&self, client: TcpStream, server: TcpStream) {
        let mut held = self.held.lock().unwrap().subscribe();
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        tokio::select! {
            _ = held.changed() => {}
            _ = async { tokio::join!(self.up(from_client, to_server), self.down(from_server, to_client)) } => {}
        }
    }

    fn trap(&self, bytes: &[u8]) {
        let mut trap = self.trap.lock().unwrap();
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(2048)]);
        if trap.as_ref().is_some_and(|texts| texts.iter().all(|wanted| text.contains(wanted))) {
            *trap = None;
            self.down.send_modify(|(allowed, came)| *allowed = *came);
        }
    }

    async fn up(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let at = {
            let mut up = self.up.lock().unwrap();
            up.push(Vec::new());
            up.len() - 1
        };
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            self.up.lock().unwrap()[at].extend_from_slice(&buffer[..read]);
            self.trap(&buffer[..read]);
            if to.write_all(&buffer[..read]).await.is_err() {
                break;
            }
        }
    }

    async fn down(&self, from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut turned = self.down.subscribe();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            if turned.wait_for(|(allowed, came)| came < allowed).await.is_err() {
                return;
            }
            if from.readable().await.is_err() {
                return;
            }
            // What is read is taken off at once, so that connections side by side keep to it too.
            let mut read = Ok(0);
            self.down.send_modify(|(allowed, came)| {
                let most =
                    usize::try_from(*allowed - (*came).min(*allowed)).unwrap_or(usize::MAX).min(buffer.len());
                if most == 0 {
                    read = Err(std::io::ErrorKind::WouldBlock.into());
                    return;
                }
                read = from.try_read(&mut buffer[..most]);
                *came += read.as_ref().map_or(0, |read| *read as u64);
            });
            // No answer begins before its request, so it begins what is read.
            if let Ok(read @ 12..) = read
                && let Some(status) = buffer[..read].strip_prefix(b"HTTP/1.1 ")
            {
                let status = std::str::from_utf8(&status[..3]).unwrap().parse().unwrap();
                self.answers.lock().unwrap().push(status);
            }
            match read {
                Ok(0) => return,
                Ok(read) if to.write_all(&buffer[..read]).await.is_ok() => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                _ => return,
            }
        }
    }
}
