//! What is sent comes back as it was.

use crate::support::Server;

#[tokio::test]
async fn what_is_sent_comes_back() {
    let server = Server::start().await;
    let link = server.send("a.txt", "hello", "").await;
    let answer = link.get(&reqwest::Client::new()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.bytes().await.unwrap(), "hello");
}
