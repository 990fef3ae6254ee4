//! What strangers may try: at the socket, and with addresses.

mod egress;
mod limits;
mod sockets;
mod wire;
