//! `burnbag health`.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;

use super::serve::Settings;
use crate::config::Config;

/// For each step of the question: a probe that hangs says nothing.
const PATIENCE: Duration = Duration::from_secs(5);
/// More than any answer of `/readyz`.
const LONGEST_ANSWER: u64 = 64 << 10;

#[derive(Args)]
pub(super) struct Health {
    #[command(flatten)]
    settings: Settings,
}

impl Health {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let address = near(Config::load(&self.settings.flags())?.listen);
        let (ready, lines) = ask(address)
            .with_context(|| format!("no answer from {address}: is `burnbag serve` running there?"))?;
        super::print(lines)?;
        Ok(if ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Where a server that listens on every address is reached from the machine itself.
fn near(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// What `/readyz` answers: whether it is 200, and its lines.
fn ask(address: SocketAddr) -> anyhow::Result<(bool, String)> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(LONGEST_ANSWER).read_to_string(&mut answer)?;
    let (head, lines) = answer.split_once("\r\n\r\n").context("it answered something else than HTTP")?;
    match head.split(' ').nth(1) {
        Some("200") => Ok((true, lines.to_owned())),
        Some("503") => Ok((false, lines.to_owned())),
        _ => {
            bail!("it answered {:?}: another program listens there", head.lines().next().unwrap_or_default())
        }
    }
}
