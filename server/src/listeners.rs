//! Where clients connect: the sockets that listen, and the files of Unix sockets.
//!
//! Each worker listens on its own TCP socket (SO_REUSEPORT), and the kernel spreads the
//! connections. On a Unix socket worker 0 listens; what the others get of it is handed off.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with, sockopt};
use tollgate_core::config::ListenAddress;

/// Connections that the kernel may hold for us; it caps this at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// The sockets of all listeners.
#[derive(Debug)]
pub(crate) struct Bound {
    /// By listener, with the ports that were chosen.
    pub(crate) addresses: Vec<ListenAddress>,
    /// To be kept as long as the sockets serve.
    pub(crate) files: Vec<SocketFile>,
    /// By worker, then by listener; `None` where the worker does not listen.
    pub(crate) sockets: Vec<Vec<Option<OwnedFd>>>,
}

/// Opens the sockets of all listeners for each of the `workers`. With port 0 all of them get the
/// same free port; an IPv6 address does not take IPv4 clients; a socket file that nobody listens on
/// is replaced.
///
/// # Errors
/// An address that cannot be bound; the message has it.
pub(crate) fn bind(listeners: &[ListenAddress], workers: usize) -> io::Result<Bound> {
    let mut bound = Bound {
        addresses: Vec::new(),
        files: Vec::new(),
        sockets: (0..workers).map(|_| Vec::new()).collect(),
    };
    for listener in listeners {
        let result = match listener {
            ListenAddress::Tcp(address) => bind_tcp(*address, &mut bound),
            ListenAddress::Unix(path) => bind_unix(path, &mut bound),
        };
        result.map_err(|error| {
            let place = match listener {
                ListenAddress::Tcp(address) => address.to_string(),
                ListenAddress::Unix(path) => path.to_string(),
            };
            let message = format!("cannot listen on {place}: {error}");
            io::Error::new(error.kind(), message)
        })?;
    }
    Ok(bound)
}

/// The first socket is bound without SO_REUSEPORT, so that a port which another process listens on
/// is refused rather than shared; then it is opened to our other workers.
fn bind_tcp(mut address: SocketAddr, bound: &mut Bound) -> io::Result<()> {
    let shared = bound.sockets.len() > 1;
    for (id, sockets) in bound.sockets.iter_mut().enumerate() {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let socket = socket_with(family, SocketType::STREAM, FLAGS, None)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        if address.is_ipv6() {
            sockopt::set_ipv6_v6only(&socket, true)?;
        }
        if id > 0 {
            sockopt::set_socket_reuseport(&socket, true)?;
        }
        rustix::net::bind(&socket, &address)?;
        if id == 0 {
            address = SocketAddr::try_from(rustix::net::getsockname(&socket)?)?;
            bound.addresses.push(ListenAddress::Tcp(address));
            sockopt::set_socket_reuseport(&socket, shared)?;
        }
        // What is accepted from it inherits this.
        sockopt::set_tcp_nodelay(&socket, true)?;
        rustix::net::listen(&socket, BACKLOG)?;
        sockets.push(Some(socket));
    }
    Ok(())
}

fn bind_unix(place: &str, bound: &mut Bound) -> io::Result<()> {
    let path = Path::new(place);
    let address = SocketAddrUnix::new(path)?;
    let new = || socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None);
    let socket = new()?;
    let mut result = rustix::net::bind(&socket, &address);
    if result == Err(Errno::ADDRINUSE)
        && fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
        && rustix::net::connect(new()?, &address) == Err(Errno::CONNREFUSED)
    {
        fs::remove_file(path)?;
        result = rustix::net::bind(&socket, &address);
    }
    result?;
    bound.files.push(SocketFile::new(path)?);
    rustix::net::listen(&socket, BACKLOG)?;
    bound.addresses.push(ListenAddress::Unix(place.into()));
    let mut socket = Some(socket);
    for sockets in &mut bound.sockets {
        sockets.push(socket.take());
    }
    Ok(())
}

/// A socket file that we made; it goes when this is dropped, unless another took its place.
#[derive(Debug)]
pub(crate) struct SocketFile {
    inode: (u64, u64),
    path: PathBuf,
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<SocketFile> {
        let file = fs::symlink_metadata(path)?;
        Ok(SocketFile {
            inode: (file.dev(), file.ino()),
            path: path.to_path_buf(),
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let file = fs::symlink_metadata(&self.path);
        if file.is_ok_and(|file| (file.dev(), file.ino()) == self.inode) {
            // Without the right to remove it, it stays; the next start replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail so")]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("tollgate-{name}-{}", std::process::id()))
    }

    fn unix(path: &Path) -> ListenAddress {
        ListenAddress::Unix(path.to_str().unwrap().into())
    }

    #[test]
    fn workers_share_a_port_and_it_is_theirs_alone() {
        let any = ListenAddress::Tcp(([127, 0, 0, 1], 0).into());
        let bound = bind(&[any], 2).unwrap();
        let [ListenAddress::Tcp(address)] = bound.addresses[..] else {
            panic!("one listener");
        };
        assert!(TcpListener::bind(address).is_err());
        let taken = bind(&bound.addresses, 2).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        assert!(taken.to_string().contains(&address.to_string()), "{taken}");
        // Enough connections that both sockets of the group get some: each is tried.
        let clients = (0..64).map(|_| TcpStream::connect(address).unwrap());
        let clients: Vec<_> = clients.collect();
        let mut accepted = 0;
        for socket in bound.sockets.iter().flatten().flatten() {
            while let Ok((socket, _)) = rustix::net::acceptfrom_with(socket, FLAGS) {
                assert!(sockopt::tcp_nodelay(&socket).unwrap());
                accepted += 1;
            }
        }
        assert_eq!(accepted, clients.len());
    }

    #[test]
    fn a_stale_socket_file_is_replaced_and_leaves_with_its_owner() {
        let path = path("stale");
        // What a killed process leaves.
        drop(UnixListener::bind(&path).unwrap());
        let bound = bind(&[unix(&path)], 2).unwrap();
        assert!(bound.sockets[0][0].is_some() && bound.sockets[1][0].is_none());
        UnixStream::connect(&path).unwrap();
        let taken = bind(&[unix(&path)], 1).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        assert!(taken.to_string().contains(path.to_str().unwrap()));
        assert!(path.exists());
        drop(bound);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_is_no_socket_stays() {
        let path = path("file");
        fs::write(&path, "mine").unwrap();
        bind(&[unix(&path)], 1).unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), b"mine");
        fs::remove_file(&path).unwrap();
    }
}
