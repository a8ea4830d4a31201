//! A mail server that takes every mail and keeps it.
//!
//! It speaks as much of SMTP as a client needs that sends one text to one address: no TLS, no sign-in.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use crate::wait::eventually_or_tell;

/// A mail that was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mail {
    /// Whom it is from, as the envelope says.
    pub from: String,
    /// Whom it is to, as the envelope says.
    pub to: String,
    /// Its subject.
    pub subject: String,
    /// Its text.
    pub text: String,
}

impl Mail {
    /// The one link in it.
    ///
    /// # Panics
    /// When there is none, or another.
    #[track_caller]
    pub fn link(&self) -> &str {
        let mut links = self.text.lines().filter(|line| line.starts_with("http"));
        let link = links.next().unwrap_or_else(|| panic!("no link in {self:#?}"));
        assert_eq!(links.next(), None, "{self:#?}");
        link.trim_end()
    }

    /// The token of that link.
    ///
    /// # Panics
    /// When it has none.
    #[track_caller]
    pub fn token(&self) -> &str {
        let (_, token) = self.link().split_once("/login?token=").unwrap_or_else(|| panic!("no token in {self:#?}"));
        token
    }
}

/// A mail server that runs until it is dropped.
#[derive(Debug)]
pub struct Mailbox {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    mails: Mutex<Vec<Mail>>,
    stopped: AtomicBool,
}

impl Mailbox {
    /// A server on a free port.
    ///
    /// # Panics
    /// When there is none.
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared::default());
        let served = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if served.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&served);
                // A client that goes away ends its connection and nothing else.
                thread::spawn(move || drop(serve(&stream, &shared)));
            }
        });
        Self { address, shared }
    }

    /// Its address as the configuration takes it.
    pub fn url(&self) -> String {
        format!("smtp+plain://{}", self.address)
    }

    /// The mails so far to this address, oldest first.
    pub fn to(&self, address: &str) -> Vec<Mail> {
        lock(&self.shared.mails).iter().filter(|mail| mail.to == address).cloned().collect()
    }

    /// How many mails came so far.
    pub fn count(&self) -> usize {
        lock(&self.shared.mails).len()
    }

    /// Waits for the mail of this number to this address, counted from 0.
    #[track_caller]
    pub fn await_mail(&self, address: &str, number: usize) -> Mail {
        let find = || self.to(address).get(number).cloned();
        let tell = || format!("{:#?}", lock(&self.shared.mails));
        eventually_or_tell(&format!("mail {number} to {address}"), find, tell)
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, so that it sees the flag.
        drop(TcpStream::connect(self.address));
    }
}

fn serve(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    let (mut reader, mut writer) = (BufReader::new(stream), stream);
    writer.write_all(b"220 mailbox\r\n")?;
    let mut envelope = Mail::default();
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let command = line.trim_end();
        let answer = match command.split([':', ' ']).next().unwrap_or_default().to_ascii_uppercase().as_str() {
            "MAIL" => {
                envelope = Mail { from: address(command), ..Mail::default() };
                "250 fine"
            }
            "RCPT" => {
                envelope.to = address(command);
                "250 fine"
            }
            "DATA" => {
                writer.write_all(b"354 go on\r\n")?;
                let content = read_content(&mut reader)?;
                let mail = Mail { subject: header(&content, "subject"), text: text(&content), ..envelope.clone() };
                lock(&shared.mails).push(mail);
                "250 taken"
            }
            "QUIT" => {
                return writer.write_all(b"221 bye\r\n");
            }
            _ => "250 fine",
        };
        writer.write_all(format!("{answer}\r\n").as_bytes())?;
    }
}

/// The address between the brackets of a command.
fn address(command: &str) -> String {
    let within = command.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    within.map_or_else(String::new, |(address, _)| address.to_owned())
}

/// A mail's lines up to the one that ends it, without the dots that lines beginning with one are led by.
fn read_content(reader: &mut impl BufRead) -> io::Result<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match line.trim_end_matches(['\r', '\n']) {
            "." => return Ok(lines),
            line => lines.push(line.strip_prefix('.').unwrap_or(line).to_owned()),
        }
    }
}

/// A field of a mail's header, unfolded.
fn header(content: &[String], name: &str) -> String {
    let mut fields: Vec<String> = Vec::new();
    for line in content.iter().take_while(|line| !line.is_empty()) {
        match fields.last_mut().filter(|_| line.starts_with([' ', '\t'])) {
            Some(field) => {
                field.push(' ');
                field.push_str(line.trim_start());
            }
            None => fields.push(line.clone()),
        }
    }
    let field = fields.iter().filter_map(|field| field.split_once(':'));
    let mut values = field.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim());
    values.next().unwrap_or_default().to_owned()
}

fn text(content: &[String]) -> String {
    let body: Vec<&str> = content.iter().skip_while(|line| !line.is_empty()).skip(1).map(String::as_str).collect();
    if header(content, "content-transfer-encoding").eq_ignore_ascii_case("quoted-printable") {
        return quoted_printable(&body);
    }
    body.join("\n")
}

/// RFC 2045, 6.7.
fn quoted_printable(lines: &[&str]) -> String {
    let mut bytes = Vec::new();
    for line in lines {
        let (line, is_whole) = line.strip_suffix('=').map_or((*line, true), |line| (line, false));
        let mut rest = line.as_bytes();
        while let Some((first, tail)) = rest.split_first() {
            let escaped = tail.get(..2).filter(|_| *first == b'=').and_then(|digits| hex::decode(digits).ok());
            bytes.extend_from_slice(escaped.as_deref().unwrap_or(&[*first]));
            rest = if escaped.is_some() { &tail[2..] } else { tail };
        }
        if is_whole {
            bytes.push(b'\n');
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics while holding this")
}
