//! Paths of what everybody knows.

/// Without them.
pub fn shorten(line: &str) -> String {
    let mut out = line.to_owned();
    for (path, name) in KNOWN {
        out = out.replace(path, name);
    }
    // As the crate public-api prints a bound on an associated type.
    out.replace("<ItemAsRef<", "<Item: AsRef<")
}

const KNOWN: [(&str, &str); 43] = [
    ("alloc::string::String", "String"),
    ("alloc::vec::Vec", "Vec"),
    ("alloc::sync::Arc", "Arc"),
    ("alloc::boxed::Box", "Box"),
    ("alloc::collections::btree::map::BTreeMap", "BTreeMap"),
    ("core::option::Option", "Option"),
    ("core::result::Result", "Result"),
    ("core::time::Duration", "Duration"),
    ("core::net::socket_addr::SocketAddr", "SocketAddr"),
    ("core::net::ip_addr::IpAddr", "IpAddr"),
    ("core::convert::", ""),
    ("core::marker::", ""),
    ("core::clone::", ""),
    ("core::cmp::", ""),
    ("core::default::", ""),
    ("core::error::", "std::error::"),
    ("core::fmt::", ""),
    ("core::hash::", ""),
    ("core::panic::unwind_safe::", ""),
    ("core::iter::traits::exact_size::", ""),
    ("core::task::poll::", ""),
    ("core::task::wake::", ""),
    ("alloc::borrow::", ""),
    ("core::future::future::", ""),
    ("core::iter::traits::iterator::", ""),
    ("core::iter::traits::collect::", ""),
    ("core::ops::function::", ""),
    ("core::ops::arith::", ""),
    ("core::ops::deref::", ""),
    ("core::ops::drop::", ""),
    ("core::ops::index::", ""),
    ("core::pin::", ""),
    ("core::str::traits::", ""),
    ("std::io::error::", "io::"),
    ("std::path::", ""),
    ("bytes::bytes::Bytes", "Bytes"),
    ("futures_core::stream::Stream", "Stream"),
    ("serde_core::de::", ""),
    ("serde_core::ser::Serialize", "Serialize"),
    ("rustls::client::client_conn::", "rustls::"),
    ("rustls::server::server_conn::", "rustls::"),
    ("tokio::io::async_read::AsyncRead", "AsyncRead"),
    ("tokio::io::async_write::AsyncWrite", "AsyncWrite"),
];
