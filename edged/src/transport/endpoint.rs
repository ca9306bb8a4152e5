//! The UDP socket and how QUIC is set up on it, with every number and its reason.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{EndpointConfig, IdleTimeout, MtuDiscoveryConfig, VarInt};
use socket2::{Domain, Protocol, Socket, Type};
use tracing::debug;

use super::error::TransportError;

/// With the system's defaults 1,984 packets per million segments were lost, with this
/// none (`net.core.rmem_max` and `wmem_max` must allow it).
const SOCKET_BUFFER: usize = 4 << 20;
/// What Ethernet carries over IPv4 without a header to spare; discovery goes on from it.
const FIRST_MTU: u16 = 1452;
/// Discovery up to here gained 23% at 256 B and half at 64 KiB on paths that carry it.
const LARGEST_MTU: u16 = 6400;
/// The longest datagram taken: above [`LARGEST_MTU`], below what the kernel splits.
const LARGEST_DATAGRAM: u16 = 8192;
/// Bytes written and not yet acknowledged: a window for 400 Mbit/s at 80 ms.
const SEND_WINDOW: u64 = 4 << 20;
/// Bytes received and not yet read, for one stream and for all of a link: four large
/// segments stalled for want of room must not stop the lanes beside them.
const STREAM_WINDOW: u32 = 2 << 20;
const LINK_WINDOW: u32 = 12 << 20;
/// Streams the peer may have open: large segments, and a lane each beside control.
const SEGMENT_STREAMS: u32 = 64;
const PACK_STREAMS: u32 = 80;

/// A bound UDP socket with room for bursts. An IPv6 socket takes IPv4 too.
pub(crate) fn socket(listen: SocketAddr) -> Result<std::net::UdpSocket, TransportError> {
    let open = || {
        let socket = Socket::new(
            Domain::for_address(listen),
            Type::DGRAM,
            Some(Protocol::UDP),
        )?;
        if listen.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        // A smaller buffer costs packets, not correctness.
        for buffer in [
            socket.set_recv_buffer_size(SOCKET_BUFFER),
            socket.set_send_buffer_size(SOCKET_BUFFER),
        ] {
            if let Err(error) = buffer {
                debug!(%error, "Socket buffer stays as it is");
            }
        }
        socket.bind(&listen.into())?;
        Ok(socket.into())
    };
    open().map_err(|source| TransportError::Socket { listen, source })
}

/// How the endpoint itself behaves.
pub(crate) fn endpoint_config() -> EndpointConfig {
    let mut config = EndpointConfig::default();
    config
        .max_udp_payload_size(LARGEST_DATAGRAM)
        .expect("the largest datagram is above QUIC's smallest");
    config
}

/// How each connection behaves. A `keep_alive` of zero sends none.
pub(crate) fn quic_config(
    keep_alive: Duration,
    idle: Duration,
) -> Result<Arc<quinn::TransportConfig>, TransportError> {
    let timeout = IdleTimeout::try_from(idle).map_err(|_| TransportError::Idle(idle))?;
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(LARGEST_MTU);
    let mut config = quinn::TransportConfig::default();
    config
        .max_idle_timeout(Some(timeout))
        .keep_alive_interval((!keep_alive.is_zero()).then_some(keep_alive))
        .initial_mtu(FIRST_MTU)
        .mtu_discovery_config(Some(discovery))
        .send_window(SEND_WINDOW)
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(LINK_WINDOW))
        .max_concurrent_bidi_streams(VarInt::from_u32(SEGMENT_STREAMS))
        .max_concurrent_uni_streams(VarInt::from_u32(PACK_STREAMS))
        .datagram_receive_buffer_size(None);
    Ok(Arc::new(config))
}

/// How we answer a dialler with this TLS configuration.
pub(crate) fn server_config(
    tls: rustls::ServerConfig,
    quic: &Arc<quinn::TransportConfig>,
) -> Result<quinn::ServerConfig, TransportError> {
    let crypto = QuicServerConfig::try_from(tls)?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::clone(quic));
    Ok(config)
}

/// How we dial with this TLS configuration.
pub(crate) fn client_config(
    tls: rustls::ClientConfig,
    quic: &Arc<quinn::TransportConfig>,
) -> Result<quinn::ClientConfig, TransportError> {
    let crypto = QuicClientConfig::try_from(tls)?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::clone(quic));
    Ok(config)
}
