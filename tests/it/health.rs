//! `burnbag health`: what a container's health check runs.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use crate::support::{Server, free_port};

#[tokio::test]
async fn a_server_that_is_ready_is_healthy_and_says_why() {
    let mut server = Server::start().await;
    let asked = server.burnbag(&["health"]);
    let said = String::from_utf8(asked.stdout).unwrap();
    assert!(asked.status.success(), "{said}");
    let readyz = reqwest::get(format!("{}/readyz", server.url)).await.unwrap().text().await.unwrap();
    assert_eq!(said, readyz);

    server.stop().await;
    let asked = server.burnbag(&["health"]);
    assert_eq!(asked.status.code(), Some(1));
    let said = String::from_utf8(asked.stderr).unwrap();
    assert!(said.contains("is `burnbag serve` running there?"), "{said}");
}

/// What it says of a server that answers so on every address of the machine.
fn health_of(answer: &'static str) -> (Option<i32>, String) {
    let port = free_port();
    let listener = TcpListener::bind(("0.0.0.0", port)).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        stream.write_all(answer.as_bytes()).unwrap();
    });
    let settings = [
        ("BURNBAG_LISTEN".to_owned(), format!("0.0.0.0:{port}")),
        ("BURNBAG_PUBLIC_URL".to_owned(), "https://files.example.org".to_owned()),
    ];
    let asked = crate::support::command(&settings).arg("health").output().unwrap();
    server.join().unwrap();
    let said = [asked.stdout, asked.stderr].concat();
    (asked.status.code(), String::from_utf8(said).unwrap())
}

#[test]
fn a_server_that_is_not_ready_is_not_healthy() {
    let (code, said) = health_of("HTTP/1.1 503 Service Unavailable\r\n\r\nrecords: no answer\n");
    assert_eq!((code, said.as_str()), (Some(1), "records: no answer\n"));
}

#[test]
fn another_program_on_the_port_is_not_healthy() {
    let (code, said) = health_of("HTTP/1.1 404 Not Found\r\n\r\n");
    assert_eq!(code, Some(1));
    assert!(said.contains("another program listens there"), "{said}");
}
