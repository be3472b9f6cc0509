//! Runs age plugins (c2sp.org/age-plugin) for the person at the command line: custodians' hardware tokens.
//!
//! A plugin is her program, found on the PATH. It runs for one file, as long as it may; the time in which she types doesn't
//! count. Commands start plugins, and a server never: what it needs of custodians comes to it opened, or sealed.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::process;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use age::plugin::{Identity, IdentityPluginV1, Recipient, RecipientPluginV1};
use age::secrecy::SecretString;
use age::stream::StreamReader;
use age::{DecryptError, Decryptor, EncryptError, Encryptor};
use clap::Args;
use keys::{Plugins, Trouble};
use kit::{Blame, Fault};
use rustix::process::{Pid, Signal, kill_process};
use zeroize::Zeroizing;

const TICK: Duration = Duration::from_millis(50);
/// A PIN, mistyped, and some keys to be plugged in: a plugin that asks on and on gets no answer.
const QUESTIONS_MAX: usize = 16;
/// A PIN or a yes.
const LINE_BYTES_MAX: u64 = 1_024;
/// A sheet or a challenge, and room to notice what is neither.
const PLAIN_BYTES_MAX: u64 = 1_024;
/// Of what a plugin says, on one line.
const SAID_CHARS_MAX: usize = 400;

#[derive(Args, Clone, Copy)]
pub struct Client {
    /// Seconds that an age plugin may take for one share: a touch of the token is in them, what is typed meanwhile isn't.
    #[arg(long, value_name = "N", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    plugin_seconds: u64,
}

impl Plugins for Client {
    fn seal(&self, recipient: &str, plain: &[u8]) -> Result<Vec<u8>, Trouble> {
        let (text, recipient) = ([recipient.to_owned()], recipient.parse::<Recipient>().map_err(broken)?);
        let (name, plain) = (recipient.plugin().to_owned(), Zeroizing::new(plain.to_vec()));
        self.run(&name.clone(), move |person| {
            let plugin = RecipientPluginV1::new(&name, &[recipient], &[], person).map_err(|e| sealing(e, &text))?;
            // `age::encrypt` takes every failure of a recipient for a bug of its caller's, and panics.
            let recipients = std::iter::once(&plugin as &dyn age::Recipient);
            let encryptor = Encryptor::with_recipients(recipients).map_err(|e| sealing(e, &text))?;
            let mut file = Vec::new();
            let mut writer = encryptor.wrap_output(&mut file).map_err(broken)?;
            writer.write_all(&plain).map_err(broken)?;
            writer.finish().map_err(broken)?;
            Ok(file)
        })
    }

    fn open(&self, identity: &str, file: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, Trouble> {
        let identity: Identity = identity.parse().map_err(broken)?;
        let (name, file) = (identity.plugin().to_owned(), file.to_vec());
        self.run(&name.clone(), move |person| {
            let unanswered = person.0.clone();
            let plugin = IdentityPluginV1::new(&name, &[identity], person).map_err(opening)?;
            let decryptor = Decryptor::new_buffered(file.as_slice()).map_err(opening)?;
            let opened = match decryptor.decrypt(std::iter::once(&plugin as &dyn age::Identity)) {
                // It passes over what it wasn't let open.
                Err(DecryptError::NoMatchingKeys) => {
                    return unanswered.lock().unanswered.take().map_or(Ok(None), |why| Err(Trouble::Refused { why }));
                }
                opened => opened.map_err(opening)?,
            };
            let mut plain = Zeroizing::new(Vec::with_capacity(PLAIN_BYTES_MAX as usize));
            opened.take(PLAIN_BYTES_MAX).read_to_end(&mut plain).map_err(|_| Trouble::Altered)?;
            Ok(Some(plain))
        })
    }
}

/// One of those that a file is sealed to.
enum Sealed {
    Native(age::x25519::Recipient),
    Plugin(Recipient),
}

impl Client {
    /// Begins an age file to these recipients. Plugins wrap its key now; what is written then needs none.
    pub fn encryptor(self, recipients: &[String]) -> Result<Encryptor, Fault> {
        let of = |text: &String| match (text.parse(), text.parse::<Recipient>()) {
            (Ok(native), _) => Ok(Sealed::Native(native)),
            (_, Ok(plugin)) => Ok(Sealed::Plugin(plugin)),
            _ => {
                let text = format!("{}: no age recipient (age1…, or age1NAME1…)", one_line(text));
                Err(Fault::new(Blame::Peer, "usage.recipient", text))
            }
        };
        let each = recipients.iter().map(of).collect::<Result<Vec<_>, _>>()?;
        let texts = recipients.to_vec();
        let begin = move |person: Option<Person>| {
            let mut all: Vec<Box<dyn age::Recipient + Send>> = Vec::new();
            for one in each {
                match (one, &person) {
                    (Sealed::Plugin(one), Some(person)) => {
                        let name = one.plugin().to_owned();
                        let plugin = RecipientPluginV1::new(&name, &[one], &[], person.clone());
                        all.push(Box::new(plugin.map_err(|e| sealing(e, &texts))?));
                    }
                    (Sealed::Native(one), _) => all.push(Box::new(one)),
                    (Sealed::Plugin(_), None) => return Err(Trouble::Forbidden),
                }
            }
            Encryptor::with_recipients(all.iter().map(|one| &**one as &dyn age::Recipient))
                .map_err(|e| sealing(e, &texts))
        };
        let plugin = recipients.iter().find_map(|text| Some(text.parse::<Recipient>().ok()?.plugin().to_owned()));
        let begun = match plugin {
            Some(name) => self.run(&name, move |person| begin(Some(person))),
            None => begin(None),
        };
        begun.map_err(|why| Fault::new(Blame::Peer, "age.recipient", format!("an age recipient: {why}")))
    }

    /// What an age file holds, as it is read. `text`: identities, a line each, and comments.
    pub fn opened<R: BufRead + Send + 'static>(self, text: &str, file: R) -> Result<StreamReader<R>, Fault> {
        let (mut native, mut plugins): (Vec<age::x25519::Identity>, Vec<Identity>) = (Vec::new(), Vec::new());
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            match (line.parse(), line.parse()) {
                (Ok(one), _) => native.push(one),
                (_, Ok(one)) => plugins.push(one),
                // Whatever stands there may be a secret.
                _ => {
                    let text = "the key's file has a line that is no age identity";
                    return Err(Fault::new(Blame::Peer, "age.identity", text));
                }
            }
        }
        let name = plugins.first().map(|one| one.plugin().to_owned());
        let open = move |person: Option<Person>| {
            let mut all: Vec<Box<dyn age::Identity>> = Vec::new();
            all.extend(native.into_iter().map(|one| Box::new(one) as Box<dyn age::Identity>));
            for one in plugins {
                let Some(person) = person.clone() else { return Err(Trouble::Forbidden) };
                let name = one.plugin().to_owned();
                all.push(Box::new(IdentityPluginV1::new(&name, &[one], person).map_err(opening)?));
            }
            let decryptor = Decryptor::new_buffered(file).map_err(opening)?;
            match decryptor.decrypt(all.iter().map(|one| &**one as &dyn age::Identity)) {
                Err(DecryptError::NoMatchingKeys) => Ok(None),
                opened => opened.map(Some).map_err(opening),
            }
        };
        let opened = match name {
            Some(name) => self.run(&name, move |person| open(Some(person))),
            None => open(None),
        };
        match opened {
            Ok(Some(opened)) => Ok(opened),
            Ok(None) => Err(Fault::new(Blame::Peer, "age.identity", "the file isn't sealed to this key")),
            Err(Trouble::Altered) => {
                Err(Fault::new(Blame::Integrity, "age.altered", "the age file's header is altered, or cut short"))
            }
            Err(why) => Err(Fault::new(Blame::Peer, "age.identity", format!("an age identity: {why}"))),
        }
    }

    /// What `work` makes of a plugin, or that it took too long.
    fn run<T: Send + 'static>(
        self,
        name: &str,
        work: impl FnOnce(Person) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Trouble> {
        if std::env::var_os("AGEDEBUG").is_some_and(|debug| debug == "plugin") {
            // The age library prints all that passes then.
            return Err(Trouble::Refused {
                why: "AGEDEBUG=plugin would print what opens her share; unset it".to_owned(),
            });
        }
        let limit = Duration::from_secs(self.plugin_seconds);
        let talk = Arc::new(Talk {
            name: format!("age-plugin-{name}"),
            limit,
            state: Mutex::new(State { until: Some(Instant::now() + limit), questions: 0, unanswered: None }),
        });
        let (send, receive) = mpsc::channel();
        let person = Person(Arc::clone(&talk));
        // The age library waits for a plugin as long as that likes.
        thread::spawn(move || send.send(work(person)));
        loop {
            match receive.recv_timeout(TICK) {
                Ok(Err(Trouble::Refused { why })) => {
                    return Err(Trouble::Refused { why: talk.lock().unanswered.take().unwrap_or(why) });
                }
                Ok(done) => return done,
                Err(RecvTimeoutError::Disconnected) => return Err(broken("the age library failed")),
                Err(RecvTimeoutError::Timeout) => {
                    if talk.lock().until.is_some_and(|until| Instant::now() > until) {
                        end_plugins();
                        return Err(Trouble::Silent { seconds: self.plugin_seconds });
                    }
                }
            }
        }
    }
}

/// The conversation of one plugin with the person at the terminal.
struct Talk {
    name: String,
    limit: Duration,
    state: Mutex<State>,
}

struct State {
    /// None while she is asked.
    until: Option<Instant>,
    questions: usize,
    /// Why the plugin's question couldn't be put to her.
    unanswered: Option<String>,
}

impl Talk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has her answer at the terminal, which standard input needn't be.
    fn ask<T>(&self, question: &str, answer: impl FnOnce(File) -> io::Result<T>) -> Option<T> {
        let question = one_line(question);
        let mut state = self.lock();
        state.questions += 1;
        if state.questions > QUESTIONS_MAX {
            state.unanswered = Some(format!("it asks more than {QUESTIONS_MAX} questions"));
            return None;
        }
        let Ok(terminal) = File::options().read(true).write(true).open("/dev/tty") else {
            state.unanswered = Some(format!("it asks {question:?}, and there is no terminal to answer at"));
            return None;
        };
        state.until = None;
        drop(state);
        let answered = answer(terminal);
        self.lock().until = Some(Instant::now() + self.limit);
        answered.ok()
    }
}

/// Whom a plugin talks to.
#[derive(Clone)]
struct Person(Arc<Talk>);

impl age::Callbacks for Person {
    fn display_message(&self, message: &str) {
        complain!("{}: {}", self.0.name, one_line(message));
    }

    fn confirm(&self, message: &str, yes: &str, no: Option<&str>) -> Option<bool> {
        let (message, yes, no) = (one_line(message), one_line(yes), one_line(no.unwrap_or("no")));
        let line =
            self.0.ask(&message, |tty| line(tty, &format!("{}: {message} (y: {yes}, n: {no}) ", self.0.name)))?;
        Some(matches!(line.to_lowercase().as_str(), "y" | "yes"))
    }

    fn request_public_string(&self, description: &str) -> Option<String> {
        self.0.ask(description, |tty| line(tty, &format!("{}: {} ", self.0.name, one_line(description))))
    }

    fn request_passphrase(&self, description: &str) -> Option<SecretString> {
        let prompt = format!("{}: {} ", self.0.name, one_line(description));
        self.0.ask(description, |_| rpassword::prompt_password(prompt)).map(SecretString::from)
    }
}

fn line(mut terminal: File, prompt: &str) -> io::Result<String> {
    terminal.write_all(prompt.as_bytes())?;
    let mut line = String::new();
    BufReader::new(terminal.take(LINE_BYTES_MAX)).read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

/// What a plugin says may not move the cursor, and ends.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(SAID_CHARS_MAX)
        .collect::<String>()
        .trim()
        .to_owned()
}

fn broken(why: impl ToString) -> Trouble {
    Trouble::Broken { why: one_line(&why.to_string()) }
}

fn ended(error: &io::Error) -> Trouble {
    match error.kind() {
        io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => broken("it ended without an answer"),
        _ => broken(error),
    }
}

fn sealing(error: EncryptError, recipients: &[String]) -> Trouble {
    match error {
        EncryptError::MissingPlugin { .. } => Trouble::Missing,
        // A post-quantum recipient fills a screen.
        EncryptError::Plugin(errors) => refused(
            errors
                .iter()
                .map(|error| recipients.iter().fold(error.to_string(), |text, recipient| text.replace(recipient, "…"))),
        ),
        EncryptError::Io(error) => ended(&error),
        other => broken(other),
    }
}

fn opening(error: DecryptError) -> Trouble {
    match error {
        DecryptError::MissingPlugin { .. } => Trouble::Missing,
        DecryptError::Plugin(errors) => refused(errors.iter().map(ToString::to_string)),
        DecryptError::Io(error) => ended(&error),
        _ => Trouble::Altered,
    }
}

/// The age library gives its plugin errors no name to match by: its words for them are what there is.
fn refused(errors: impl Iterator<Item = String>) -> Trouble {
    Trouble::Refused { why: one_line(&errors.collect::<Vec<_>>().join("; ")) }
}

/// Ends what this process has started, which is plugins and nothing else: the age library keeps them to itself. It waits for
/// none, so that their ids are theirs until this process ends.
fn end_plugins() {
    let tasks = fs::read_dir(format!("/proc/{}/task", process::id())).into_iter().flatten().flatten();
    for children in tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok()) {
        for plugin in children.split_whitespace().filter_map(|id| Pid::from_raw(id.parse().ok()?)) {
            // It may have ended meanwhile.
            let _ = kill_process(plugin, Signal::KILL);
        }
    }
}
