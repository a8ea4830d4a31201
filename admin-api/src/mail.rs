//! How mail leaves: the trait, a server by SMTP, and the log where there is none.
//!
//! What a mail says is for whoever sends it. Whom a mail goes to is never logged.

use std::time::Duration;

use async_trait::async_trait;
use lettre::message::header::ContentType;
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::PoolConfig;
use lettre::transport::smtp::authentication::Credentials;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use tollgate_config::{MailConfig, MailTls};

/// How long each step of speaking to the server may take.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a whole mail may take.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections to the server, at most.
const CONNECTIONS_MAX: u32 = 4;
/// How long a connection that nobody uses stays open.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);

/// Why a mail did not leave.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// The settings cannot be used.
    #[error("[mail] cannot be used: {0}")]
    Settings(String),
    /// The mail cannot be written, or not to this address: trying again does not help.
    #[error("the mail cannot be written: {0}")]
    Unwritable(String),
    /// The server did not take it.
    #[error("the mail server did not take a mail: {0}")]
    Server(String),
    /// The server took too long.
    #[error("the mail server did not take a mail within {} s", SEND_TIMEOUT.as_secs())]
    TimedOut,
}

/// What mails.
#[async_trait]
pub trait Mailer: Send + Sync {
    /// Mails a text to one address; returns once the server has taken it.
    ///
    /// # Errors
    /// It has not.
    async fn send(&self, to: &str, subject: &str, text: &str) -> Result<(), MailError>;
}

/// Mails by a server.
pub struct SmtpMailer {
    from: Mailbox,
    transport: AsyncSmtpTransport<Tokio1Executor>,
}

impl SmtpMailer {
    /// For the server of these settings. It is spoken to when the first mail leaves. Runs on tokio.
    ///
    /// # Errors
    /// The sender's address cannot be read, or TLS cannot be set up.
    pub fn new(config: &MailConfig) -> Result<Self, MailError> {
        let from = config.from.parse().map_err(|error| MailError::Settings(format!("`from`: {error}")))?;
        let failed = |error: lettre::transport::smtp::Error| MailError::Settings(error.to_string());
        let host = &*config.host;
        let builder = match config.tls {
            MailTls::Implicit => AsyncSmtpTransport::<Tokio1Executor>::relay(host).map_err(failed)?,
            MailTls::StartTls => AsyncSmtpTransport::<Tokio1Executor>::starttls_relay(host).map_err(failed)?,
            MailTls::None => AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host),
        };
        let pool = PoolConfig::new().max_size(CONNECTIONS_MAX).idle_timeout(IDLE_TIMEOUT);
        let mut builder = builder.port(config.port).timeout(Some(STEP_TIMEOUT)).pool_config(pool);
        if let Some(user) = &config.user {
            let password = config.password.as_ref().map_or("", |password| password.reveal());
            builder = builder.credentials(Credentials::new(user.to_string(), password.to_owned()));
        }
        Ok(Self { from, transport: builder.build() })
    }
}

#[async_trait]
impl Mailer for SmtpMailer {
    async fn send(&self, to: &str, subject: &str, text: &str) -> Result<(), MailError> {
        // Only an address, never a name with another address behind it. It is not repeated: errors are logged.
        let to: Address = to.parse().map_err(|_| MailError::Unwritable("the address cannot be mailed to".into()))?;
        let message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(subject)
            .header(ContentType::TEXT_PLAIN)
            .body(text.to_owned())
            .map_err(|error| MailError::Unwritable(error.to_string()))?;
        match tokio::time::timeout(SEND_TIMEOUT, self.transport.send(message)).await {
            Ok(Ok(_)) => Ok(()),
            // A server's own words may name the address; what kind of failure it was is enough for the log.
            Ok(Err(error)) => Err(MailError::Server(kind_of(&error))),
            Err(_elapsed) => Err(MailError::TimedOut),
        }
    }
}

/// A failure in words that name nobody.
fn kind_of(error: &lettre::transport::smtp::Error) -> String {
    if let Some(code) = error.status() {
        return format!("it answered {code}");
    }
    let is_about_connection = error.is_timeout() || error.is_tls() || error.is_client();
    if is_about_connection { error.to_string() } else { format!("no connection: {error}") }
}

/// Prints the links of mails in the log, for one process without a mail server. Anything else is let go.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogMailer;

#[async_trait]
impl Mailer for LogMailer {
    async fn send(&self, _to: &str, _subject: &str, text: &str) -> Result<(), MailError> {
        let is_link = |line: &&str| line.starts_with("http://") || line.starts_with("https://");
        if let Some(link) = text.lines().find(is_link) {
            tracing::info!(link, "no [mail] is set: whoever asked for this link opens it from here");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::TcpListener;
    use tollgate_config::Secret;

    use super::*;

    fn config(port: u16, from: &str) -> MailConfig {
        MailConfig {
            host: "127.0.0.1".into(),
            port,
            tls: MailTls::None,
            user: None,
            password: Some(Secret::new("unused")),
            from: from.into(),
        }
    }

    /// A mail server that takes one mail, with `verdict` once it is whole; what it was told.
    async fn server(listener: TcpListener, verdict: &str) -> String {
        let (stream, _) = listener.accept().await.expect("a client");
        let mut stream = BufReader::new(stream);
        let (mut told, mut is_content) = (String::new(), false);
        stream.write_all(b"220 hello\r\n").await.expect("writable");
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.expect("readable") == 0 {
                return told;
            }
            told.push_str(&line);
            let answer = match line.trim_end() {
                "." if is_content => {
                    is_content = false;
                    verdict
                }
                _ if is_content => continue,
                "DATA" => {
                    is_content = true;
                    "354 go on"
                }
                "QUIT" => return told,
                _ => "250 fine",
            };
            stream.write_all(format!("{answer}\r\n").as_bytes()).await.expect("writable");
        }
    }

    #[tokio::test]
    async fn a_mail_reaches_the_server_with_its_sender_subject_and_text() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let told = tokio::spawn(server(listener, "250 taken"));
        let mailer = SmtpMailer::new(&config(port, "Acme <noreply@acme.example>")).expect("good settings");
        mailer.send("ada@example.com", "Hello\r\nBcc: eve@example.com", "https://a/b\n").await.expect("taken");
        drop(mailer);
        let told = told.await.expect("no panic");
        for part in ["MAIL FROM:<noreply@acme.example>", "RCPT TO:<ada@example.com>", "https://a/b"] {
            assert!(told.contains(part), "{part} in {told}");
        }
        assert!(!told.lines().any(|line| line.starts_with("Bcc:")), "{told}");
    }

    #[tokio::test]
    async fn a_refusal_names_no_address() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let told = tokio::spawn(server(listener, "550 ada@example.com is unknown"));
        let mailer = SmtpMailer::new(&config(port, "noreply@acme.example")).expect("good settings");
        let error = mailer.send("ada@example.com", "Hello", "text").await.expect_err("refused");
        assert!(matches!(error, MailError::Server(_)) && !error.to_string().contains("ada@"), "{error}");
        drop(mailer);
        told.await.expect("no panic");
        let error = SmtpMailer::new(&config(1, "nobody")).err().expect("no address");
        assert!(error.to_string().contains("`from`"), "{error}");
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_an_error() {
        let port = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("bound").port();
        let mailer = SmtpMailer::new(&config(port, "noreply@acme.example")).expect("good settings");
        mailer.send("ada@example.com", "Hello", "text").await.expect_err("nobody listens");
        for bad in ["two words", "x<ada@example.com>", "a@b,c@d", "ada@example.com\r\nRCPT TO:<eve@example.com>"] {
            assert!(matches!(mailer.send(bad, "Hello", "text").await, Err(MailError::Unwritable(_))), "{bad}");
        }
    }

    #[tokio::test]
    async fn every_way_to_keep_a_connection_secret_can_be_set_up() {
        for tls in [MailTls::Implicit, MailTls::StartTls, MailTls::None] {
            let config = MailConfig { tls, user: Some("acme".into()), ..config(465, "noreply@acme.example") };
            assert!(SmtpMailer::new(&config).is_ok(), "{tls:?}");
        }
    }

    #[tokio::test]
    async fn a_server_that_does_not_offer_tls_is_given_no_mail() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let told = tokio::spawn(server(listener, "250 taken"));
        let config = MailConfig { tls: MailTls::StartTls, ..config(port, "noreply@acme.example") };
        let mailer = SmtpMailer::new(&config).expect("good settings");
        mailer.send("ada@example.com", "Hello", "secret link").await.expect_err("there is no STARTTLS");
        drop(mailer);
        assert!(!told.await.expect("no panic").contains("MAIL FROM"));
    }
}
