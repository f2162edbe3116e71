use std::fs;

/// Whether the process holds a TCP socket that listens on that port, on whichever address.
///
/// An answer at a port may be somebody else's: two stacks that start at the same moment choose the
/// same free ports, and the loser must not take the winner's server for its own.
pub(crate) fn listens(pid: u32, port: u16) -> bool {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(fs::read_to_string);
    let sockets: Vec<String> = tables
        .iter()
        .flatten()
        .flat_map(|table| table.lines())
        .filter_map(|line| listener(line, port))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    files
        .flatten()
        .filter_map(|file| fs::read_link(file.path()).ok())
        .any(|target| sockets.iter().any(|socket| target.as_os_str() == socket.as_str()))
}

/// The inode of a line of `/proc/net/tcp`, if it is a socket that listens on `port`: its second
/// field is `ADDRESS:PORT` in hexadecimal, the fourth the state (`0A`: listening), the tenth the
/// inode.
fn listener(line: &str, port: u16) -> Option<&str> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (_, local) = fields.next()?.rsplit_once(':')?;
    let is_ours = u16::from_str_radix(local, 16) == Ok(port);
    let listens = fields.nth(1)? == "0A";
    let inode = fields.nth(5)?;
    (is_ours && listens).then_some(inode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_holder_of_a_listening_socket_listens() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = socket.local_addr().expect("bound").port();
        let _client = std::net::TcpStream::connect(("127.0.0.1", port)).expect("connected");
        assert!(listens(std::process::id(), port));
        assert!(!listens(1, port) || std::process::id() == 1);
        drop(socket);
        assert!(!listens(std::process::id(), port), "the accepted side does not listen");
    }
}
