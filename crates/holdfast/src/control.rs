//! How the command line reaches a centre: through the running server where there is one, else by opening the centre
//! itself. Both run the same [`crate::acts`], so a command does the same thing either way.
//!
//! The server listens on a loopback port; the port and a fresh 256-bit secret stand in `gateway/control.json`, which
//! only the account that runs the server can read. Frames: length (u32, big-endian), then JSON.
//!
//! ```text
//!  command ──► call ──► server ──► done
//!                       server ──► shares: packages, a fresh recipient ──► command ──► sealed sheets ──► server ──► done
//! ```
//! What an act hands out beside its answer (a transfer) comes before it, a part after the other.
//!
//! No custodian's secret crosses: the command opens her share, and seals it to a key that the server made for this call.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use keys::{Call, CustodianPackage, Custody};
use kit::{Blame, Entropy, Fault, Id16, write_private};
use serde::{Deserialize, Serialize};

use crate::acts::{self, Act, Answer, Ask, decode_file, encode_file};
use crate::centre::Centre;

/// A plan in base64 and some JSON around it: RT Plans are under 20 MB.
const FRAME_BYTES_MAX: u32 = 64 * 1024 * 1024;
/// Of what is handed out, in one frame; and what goes beyond.
const PART_BYTES: usize = 1024 * 1024;
/// The longest act is `verify` over a whole vault.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(24 * 3600);
/// A request is sent whole at once.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Custodians who look for their tokens, and type what those ask for.
const SHARES_TIMEOUT: Duration = Duration::from_secs(1_800);
/// Commands at one time; a person types them.
const CONNECTIONS_MAX: usize = 16;

#[derive(Serialize, Deserialize)]
struct Address {
    listen: SocketAddr,
    secret: String,
}

#[derive(Serialize, Deserialize)]
struct Command {
    secret: String,
    act: Act,
}

fn file_of(data: &Path) -> PathBuf {
    data.join("gateway").join("control.json")
}

/// Takes away where a server that has ended was to be asked.
pub fn forget(data: &Path) {
    // Not there, most times.
    drop(fs::remove_file(file_of(data)));
}

fn failed(place: &str, why: impl std::fmt::Display) -> Fault {
    Fault::new(Blame::Configuration, "control.failed", format!("{place}: {why}"))
}

/// What the server says, and before that parts of what it hands out.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Reply {
    Done(Result<Answer, Wire>),
    /// `packages`: newest first, in base64. `recipient`: what sheets are to be sealed to, age X25519.
    Shares {
        packages: Vec<String>,
        recipient: String,
    },
    /// In base64.
    Part(String),
}

/// The answer to [`Reply::Shares`]: age files in base64.
#[derive(Serialize, Deserialize)]
struct Sealed {
    sheets: Vec<String>,
}

/// Does `act` on the centre in `data`; no custodian is called.
pub fn perform(data: &Path, act: Act) -> Result<Answer, Fault> {
    perform_with(data, act, &mut acts::nobody)
}

/// Does `act` on the centre in `data`. What `ask` opens, it opens in this process.
pub fn perform_with(data: &Path, act: Act, ask: Ask<'_>) -> Result<Answer, Fault> {
    perform_into(data, act, ask, &mut io::sink())
}

/// Does `act` on the centre in `data`; what it hands out goes to `out`.
pub fn perform_into(data: &Path, act: Act, ask: Ask<'_>, out: &mut dyn Write) -> Result<Answer, Fault> {
    let opened = match act {
        Act::Scrub => Centre::open_to_mend(data),
        Act::Verify => Centre::open_to_look(data),
        _ => Centre::open(data),
    };
    match opened {
        Ok(centre) => acts::perform(&centre, act, ask, out),
        Err(fault) if fault.code == crate::centre::BUSY => call(data, act, ask, out),
        Err(fault) => Err(fault),
    }
}

fn call(data: &Path, act: Act, ask: Ask<'_>, out: &mut dyn Write) -> Result<Answer, Fault> {
    let file = file_of(data);
    let text = fs::read_to_string(&file)
        .map_err(|e| failed("the centre is open in another process that answers no commands", e))?;
    let address: Address = serde_json::from_str(&text).map_err(|e| failed("gateway/control.json", e))?;
    let mut stream = TcpStream::connect(address.listen).map_err(|e| failed("the running server", e))?;
    stream.set_nodelay(true).map_err(|e| failed("the running server", e))?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(|e| failed("the running server", e))?;
    write_frame(&mut stream, &Command { secret: address.secret, act })?;
    let mut ask = Some(ask);
    loop {
        match (read_frame(&mut stream)?, ask.take()) {
            (Reply::Done(answer), _) => return answer.map_err(Wire::fault),
            (Reply::Part(part), still) => {
                out.write_all(&decode_file(&part)?).map_err(|e| failed("what was handed out", e))?;
                ask = still;
            }
            (Reply::Shares { packages, recipient }, Some(ask)) => {
                let packages = packages.iter().map(|package| {
                    CustodianPackage::from_bytes(&decode_file(package)?)
                        .map_err(|e| failed("the custodians' package", e))
                });
                let sheets = ask(packages.collect::<Result<_, _>>()?)?.seal(&recipient)?;
                write_frame(&mut stream, &Sealed { sheets: sheets.iter().map(|sheet| encode_file(sheet)).collect() })?;
            }
            (Reply::Shares { .. }, None) => {
                return Err(failed("the running server", "it asks for the custodians' shares a second time"));
            }
        }
    }
}

/// Hands out what is written, in frames.
struct Parts {
    stream: TcpStream,
    part: Vec<u8>,
}

impl Write for Parts {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.part.extend_from_slice(bytes);
        if self.part.len() >= PART_BYTES { self.flush() } else { Ok(()) }.map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.part.is_empty() {
            return Ok(());
        }
        let part = Reply::Part(encode_file(&std::mem::take(&mut self.part)));
        write_frame(&mut self.stream, &part).map_err(|fault| io::Error::other(fault.message))
    }
}

/// Answers commands until the process ends; the thread holds the centre as long.
pub fn listen(centre: &Arc<Centre>, data: &Path, entropy: &dyn Entropy) -> Result<(), Fault> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|e| failed("control port", e))?;
    let listen = listener.local_addr().map_err(|e| failed("control port", e))?;
    let secret = format!("{}{}", Id16(entropy.id()), Id16(entropy.id()));
    let file = file_of(data);
    write_private(&file, &serde_json::to_vec(&Address { listen, secret: secret.clone() }).unwrap_or_default())
        .map_err(|e| failed("gateway/control.json", e))?;
    let centre = Arc::clone(centre);
    let secret: Arc<str> = secret.into();
    let running = Arc::new(());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            if Arc::strong_count(&running) > CONNECTIONS_MAX {
                continue;
            }
            let (centre, secret, token) = (Arc::clone(&centre), Arc::clone(&secret), Arc::clone(&running));
            std::thread::spawn(move || {
                let done = Reply::Done(answer(&centre, &mut stream, &secret).map_err(Wire::from));
                if let Err(fault) = write_frame(&mut stream, &done) {
                    tracing::warn!(code = fault.code, "a command's answer did not go out");
                }
                drop(token);
            });
        }
    });
    Ok(())
}

fn answer(centre: &Centre, stream: &mut TcpStream, secret: &str) -> Result<Answer, Fault> {
    stream.set_read_timeout(Some(REQUEST_TIMEOUT)).map_err(|e| failed("control port", e))?;
    let command: Command = read_frame(stream)?;
    // Hashes of both sides are compared, so the time taken says nothing of the secret.
    if blake3::hash(command.secret.as_bytes()) != blake3::hash(secret.as_bytes()) {
        return Err(Fault::new(Blame::Forbidden, "control.secret", "the command does not know the server's secret"));
    }
    let to = stream.try_clone().map_err(|e| failed("control port", e))?;
    let mut parts = Parts { stream: to, part: Vec::new() };
    let answer = acts::perform(centre, command.act, &mut |packages| ask(packages, stream), &mut parts)?;
    parts.flush().map_err(|e| failed("control port", e))?;
    Ok(answer)
}

/// Has the command open the custodians' shares.
fn ask(packages: Vec<CustodianPackage>, stream: &mut TcpStream) -> Result<Custody, Fault> {
    let call = Call::new(packages);
    let packages = call.packages().iter().map(|package| encode_file(&package.to_bytes())).collect();
    write_frame(stream, &Reply::Shares { packages, recipient: call.recipient() })?;
    stream.set_read_timeout(Some(SHARES_TIMEOUT)).map_err(|e| failed("control port", e))?;
    let Sealed { sheets } = read_frame(stream)?;
    Ok(call.take(&sheets.iter().map(|sheet| decode_file(sheet)).collect::<Result<Vec<_>, _>>()?))
}

/// A fault on the wire.
#[derive(Serialize, Deserialize)]
struct Wire {
    blame: String,
    code: String,
    message: String,
    guidance: Option<String>,
}

impl From<Fault> for Wire {
    fn from(fault: Fault) -> Self {
        let blame = serde_json::to_value(fault.blame).ok().and_then(|v| v.as_str().map(str::to_owned));
        Self { blame: blame.unwrap_or_default(), code: fault.code, message: fault.message, guidance: fault.guidance }
    }
}

impl Wire {
    fn fault(self) -> Fault {
        let blame = match self.blame.as_str() {
            "peer" => Blame::Peer,
            "forbidden" => Blame::Forbidden,
            "absent" => Blame::Absent,
            "conflict" => Blame::Conflict,
            "configuration" => Blame::Configuration,
            "integrity" => Blame::Integrity,
            _ => Blame::Ours,
        };
        Fault { guidance: self.guidance, ..Fault::new(blame, self.code, self.message) }
    }
}

fn write_frame(stream: &mut TcpStream, value: &impl Serialize) -> Result<(), Fault> {
    let bytes = serde_json::to_vec(value).map_err(|e| failed("command", e))?;
    let length = u32::try_from(bytes.len())
        .ok()
        .filter(|n| *n <= FRAME_BYTES_MAX)
        .ok_or_else(|| failed("command", format!("{} bytes, maximum is {FRAME_BYTES_MAX}", bytes.len())))?;
    stream.write_all(&length.to_be_bytes()).and_then(|()| stream.write_all(&bytes)).map_err(|e| failed("command", e))
}

fn read_frame<T: for<'de> Deserialize<'de>>(stream: &mut TcpStream) -> Result<T, Fault> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).map_err(|e| failed("command", e))?;
    let length = u32::from_be_bytes(length);
    if length > FRAME_BYTES_MAX {
        return Err(failed("command", format!("{length} bytes, maximum is {FRAME_BYTES_MAX}")));
    }
    let mut bytes = Vec::new();
    stream.take(u64::from(length)).read_to_end(&mut bytes).map_err(|e| failed("command", e))?;
    serde_json::from_slice(&bytes).map_err(|e| failed("command", e))
}
