use std::net::SocketAddr;

use http::uri::{Authority, Scheme, Uri};

/// How to call the program.
pub(crate) const USAGE: &str =
    "usage: hyper-proxy --listen 127.0.0.1:8080 --upstream http://127.0.0.1:8000 [--cache]";

/// What the command line says.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) listen: SocketAddr,
    pub(crate) upstream: Authority,
    pub(crate) cache: bool,
}

impl Options {
    /// Reads the arguments after the program's name.
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut listen, mut upstream, mut cache) = (None, None, false);
        while let Some(flag) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{flag} needs a value"));
            match flag.as_str() {
                "--listen" => {
                    let value = value()?;
                    let address = value.parse();
                    listen = Some(address.map_err(|_| format!("--listen: {value} is no address"))?);
                }
                "--cache" => cache = true,
                "--upstream" => upstream = Some(authority(&value()?)?),
                _ => return Err(format!("unknown option {flag}")),
            }
        }
        Ok(Self {
            listen: listen.ok_or("--listen is missing")?,
            upstream: upstream.ok_or("--upstream is missing")?,
            cache,
        })
    }
}

fn authority(text: &str) -> Result<Authority, String> {
    let uri: Uri = text.parse().map_err(|_| format!("--upstream: {text} is no URL"))?;
    match (uri.scheme(), uri.authority()) {
        (Some(scheme), Some(authority)) if *scheme == Scheme::HTTP => Ok(authority.clone()),
        _ => Err(format!("--upstream: {text} must begin with http:// and name a host")),
    }
}
