//! What strangers may try: at the socket, with addresses, with what they hope to find written down.

mod canary;
mod egress;
mod limits;
mod sockets;
mod wire;
