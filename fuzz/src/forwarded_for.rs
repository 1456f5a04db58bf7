//! X-Forwarded-For and the list of trusted proxies: nobody is believed who is not on the list.

use std::net::IpAddr;

use arbitrary::{Result, Unstructured};
use axum::http::{HeaderMap, HeaderValue};
use burnbag::http::client::{ClientAddress, TrustedProxies};

use super::input::{bytes, choose, text};

pub fn run(data: &[u8]) {
    choose(data, |input| {
        let list = match input.int_in_range(0..=3)? {
            0 => text(input, 200)?,
            1 => format!("{},{}/{}", address(input)?, address(input)?, input.int_in_range(0..=129)?),
            2 => "10.0.0.0/8 fd00::/8".to_owned(),
            _ => "0.0.0.0/0, ::/0".to_owned(),
        };
        let Ok(proxies) = list.parse::<TrustedProxies>() else { return Ok(()) };
        assert_eq!(proxies.to_string().parse::<TrustedProxies>().as_ref(), Ok(&proxies));
        let peer = address(input)?;
        let mut headers = HeaderMap::new();
        let mut said = Vec::new();
        for _ in 0..input.int_in_range(0..=3)? {
            let value = if input.arbitrary()? {
                let address = address(input)?;
                said.push(ClientAddress::from(address));
                form(input, address)?.into_bytes()
            } else {
                bytes(input, 80)?.to_vec()
            };
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                headers.append("x-forwarded-for", value);
            }
        }
        let client = proxies.client(peer, &headers);
        assert_eq!(TrustedProxies::default().client(peer, &headers), ClientAddress::from(peer));
        assert_eq!(client.ip(), client.ip().to_canonical(), "IPv4 in IPv6 is IPv4");
        if client != ClientAddress::from(peer) {
            assert_ne!(proxies, TrustedProxies::default());
            let mut alone = HeaderMap::new();
            alone.append("x-forwarded-for", "192.0.2.77".parse().unwrap());
            let believed = proxies.client(peer, &alone);
            assert_eq!(believed.to_string(), "192.0.2.77", "only a trusted peer is believed");
        }
        let group = client.group();
        let net = group.strip_suffix("/64").unwrap_or(&group);
        assert!(net.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6() == group.ends_with("/64")));
        Ok(())
    });
}

fn address(input: &mut Unstructured<'_>) -> Result<IpAddr> {
    Ok(match input.int_in_range(0..=3)? {
        0 => IpAddr::from([10, 0, 0, input.arbitrary()?]),
        1 => IpAddr::from(input.arbitrary::<[u8; 4]>()?),
        2 => IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, input.arbitrary::<u16>()?]),
        _ => IpAddr::from(input.arbitrary::<[u16; 8]>()?),
    })
}

fn form(input: &mut Unstructured<'_>, address: IpAddr) -> Result<String> {
    Ok(match (input.int_in_range(0..=2)?, address) {
        (0, address) => address.to_string(),
        (1, IpAddr::V6(address)) => format!("[{address}]:{}", input.arbitrary::<u16>()?),
        (1, address) => format!("{address}:{}", input.arbitrary::<u16>()?),
        (_, address) => format!(" {address} , {address}"),
    })
}
