//! Whose address a request has, behind proxies and without.

use std::net::IpAddr;

use axum::http::HeaderMap;
use burnbag::http::client::{ClientAddress, TrustedProxies};

fn client(proxies: &str, peer: &str, forwarded: &[&str]) -> String {
    let proxies: TrustedProxies = proxies.parse().unwrap();
    let mut headers = HeaderMap::new();
    for line in forwarded {
        headers.append("x-forwarded-for", line.parse().unwrap());
    }
    proxies.client(peer.parse().unwrap(), &headers).to_string()
}

#[test]
fn without_a_trusted_proxy_the_header_is_not_believed() {
    assert_eq!(client("", "192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
    assert_eq!(client("10.0.0.0/8", "192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
}

#[test]
fn the_header_is_read_from_the_right_as_far_as_the_proxies_are_trusted() {
    let proxies = "10.0.0.0/8, fd00::/8 127.0.0.1";
    assert_eq!(client(proxies, "10.1.2.3", &["198.51.100.7"]), "198.51.100.7");
    assert_eq!(client(proxies, "10.1.2.3", &["1.1.1.1, 198.51.100.7 , 10.9.9.9"]), "198.51.100.7");
    assert_eq!(client(proxies, "10.1.2.3", &["1.1.1.1", "198.51.100.7,10.9.9.9"]), "198.51.100.7");
    assert_eq!(client(proxies, "127.0.0.1", &["[2001:db8::1]:4711"]), "2001:db8::1");
    assert_eq!(client(proxies, "fd00::1", &["192.0.2.9:80"]), "192.0.2.9");
    assert_eq!(client(proxies, "10.1.2.3", &["10.4.4.4"]), "10.4.4.4");
}

#[test]
fn an_entry_that_is_no_address_ends_the_reading() {
    assert_eq!(client("10.0.0.0/8", "10.1.2.3", &["1.1.1.1, unknown"]), "10.1.2.3");
    assert_eq!(client("10.0.0.0/8", "10.1.2.3", &["1.1.1.1, nonsense, 10.2.2.2"]), "10.2.2.2");
    assert_eq!(client("10.0.0.0/8", "10.1.2.3", &[]), "10.1.2.3");
}

#[test]
fn ipv4_inside_ipv6_is_ipv4() {
    assert_eq!(client("10.0.0.0/8", "::ffff:10.1.2.3", &["::ffff:192.0.2.1"]), "192.0.2.1");
    assert_eq!(client("::ffff:10.1.2.3", "10.1.2.3", &["192.0.2.1"]), "192.0.2.1");
}

#[test]
fn addresses_are_grouped_by_what_one_client_has_to_itself() {
    let group = |address: &str| ClientAddress::from(address.parse::<IpAddr>().unwrap()).group();
    assert_eq!(group("192.0.2.1"), "192.0.2.1");
    assert_eq!(group("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
    assert_eq!(group("2001:db8:1:2::9"), group("2001:db8:1:2:ffff::"));
    assert_ne!(group("2001:db8:1:2::"), group("2001:db8:1:3::"));
}

#[test]
fn a_wrong_list_of_proxies_names_the_word() {
    let error = "10.0.0.0/8,10.0.0.0/33".parse::<TrustedProxies>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "`10.0.0.0/33` is neither an address nor a network such as 10.0.0.0/8 or fd00::/8"
    );
    assert_eq!("".parse::<TrustedProxies>().unwrap(), TrustedProxies::default());
}
