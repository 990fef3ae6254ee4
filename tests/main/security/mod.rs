//! What strangers may try: at the socket, and with addresses.

mod egress;
mod limits;
mod secrets;
mod sockets;
mod wire;
