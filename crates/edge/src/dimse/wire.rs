//! PDUs over a socket: bounded before they are read, and each by a deadline of its own, so that a peer that sends one
//! byte a second holds a thread no longer than one that sends nothing.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use dicom_ul::pdu::{AbortRQSource, PDU_HEADER_SIZE, PDataValue, PDataValueType, Pdu, read_pdu, write_pdu};

use super::error::DimseError;

/// The longest PDU that we take, and say that we take; the A-ASSOCIATE-RQ included. A longer one gains nothing on a
/// local network, and each association may hold one in memory.
pub(super) const PDU_BYTES_MAX: u32 = 256 * 1024;
const HEADER_BYTES: usize = PDU_HEADER_SIZE as usize;
/// One read from the socket.
const READ_BYTES: usize = 64 * 1024;
/// How often a waiting association looks whether the server is stopping.
const GLANCE: Duration = Duration::from_millis(200);
/// After our last word: how long, and for how many bytes, the peer may still send before the socket is dropped. A
/// socket that is closed with bytes unread is reset, and the peer would lose our A-ABORT or -RJ.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How long to wait.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    /// For a PDU to begin.
    pub(super) idle: Duration,
    /// For a PDU that has begun to be whole.
    pub(super) whole: Duration,
    /// Whether a stopping server may end the association here.
    pub(super) may_stop: bool,
    pub(super) place: &'static str,
}

pub(super) struct Wire<'a> {
    stream: TcpStream,
    buffer: BytesMut,
    scratch: Box<[u8]>,
    stopping: &'a AtomicBool,
}

impl<'a> Wire<'a> {
    pub(super) fn new(stream: TcpStream, write: Duration, stopping: &'a AtomicBool) -> Result<Self, DimseError> {
        let io = |source| DimseError::Io { place: "preparing a connection", source };
        // Without it an association crawls: Nagle's algorithm waits for the peer's delayed acknowledgement.
        stream.set_nodelay(true).map_err(io)?;
        stream.set_write_timeout(Some(write)).map_err(io)?;
        Ok(Self { stream, buffer: BytesMut::new(), scratch: vec![0; READ_BYTES].into(), stopping })
    }

    /// The next PDU.
    pub(super) fn read(&mut self, patience: Patience) -> Result<Pdu, DimseError> {
        let Patience { idle, whole, may_stop, place } = patience;
        let (mut limit, mut begun) = (idle, false);
        let mut deadline = Instant::now() + idle;
        loop {
            if !begun && !self.buffer.is_empty() {
                (limit, begun) = (whole, true);
                deadline = Instant::now() + whole;
            }
            if let Some(pdu) = self.take()? {
                return Ok(pdu);
            }
            if may_stop && !begun && self.stopping.load(Ordering::Relaxed) {
                return Err(DimseError::Stopping);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(DimseError::TimedOut { place, limit });
            }
            let io = |source| DimseError::Io { place, source };
            self.stream.set_read_timeout(Some(left.min(GLANCE))).map_err(io)?;
            acknowledge_at_once(&self.stream);
            match self.stream.read(&mut self.scratch) {
                Ok(0) => return Err(DimseError::Closed { place }),
                Ok(count) => self.buffer.extend_from_slice(self.scratch.get(..count).unwrap_or_default()),
                Err(e) if is_pause(&e) => {}
                Err(e) if is_gone(&e) => return Err(DimseError::Closed { place }),
                Err(e) => return Err(io(e)),
            }
        }
    }

    /// A PDU, where all of it is here.
    fn take(&mut self) -> Result<Option<Pdu>, DimseError> {
        let Some(&kind) = self.buffer.first() else { return Ok(None) };
        if !(1..=7).contains(&kind) {
            return Err(DimseError::UnknownPdu { found: kind });
        }
        let Some((&[_, _, l0, l1, l2, l3], _)) = self.buffer.split_first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([l0, l1, l2, l3]);
        if length > PDU_BYTES_MAX {
            return Err(DimseError::PduTooLong { kind, found: length });
        }
        let whole = HEADER_BYTES + usize::try_from(length).unwrap_or(usize::MAX);
        if self.buffer.remaining() < whole {
            return Ok(None);
        }
        // The library's messages may quote what the peer sent, a password of its identity item even: left out.
        let malformed = DimseError::MalformedPdu { kind };
        match read_pdu(self.buffer.split_to(whole).freeze(), PDU_BYTES_MAX, true) {
            Ok(Some(pdu)) => Ok(Some(pdu)),
            Ok(None) | Err(_) => Err(malformed),
        }
    }

    pub(super) fn write(&mut self, pdu: &Pdu) -> Result<(), DimseError> {
        let mut bytes = Vec::with_capacity(512);
        write_pdu(&mut bytes, pdu).map_err(|e| DimseError::Encode(e.to_string()))?;
        self.send(&bytes)
    }

    /// A command set and its data set, if any, in as many PDUs as the peer's limit asks for, in one write.
    pub(super) fn write_message(
        &mut self,
        context: u8,
        command: &[u8],
        data_set: Option<&[u8]>,
        fragment: usize,
    ) -> Result<(), DimseError> {
        let mut bytes = Vec::with_capacity(512);
        let parts = [(PDataValueType::Command, Some(command)), (PDataValueType::Data, data_set)];
        for (value_type, part) in parts {
            let mut chunks = part.unwrap_or_default().chunks(fragment.max(1)).peekable();
            while let Some(chunk) = chunks.next() {
                let value = PDataValue {
                    presentation_context_id: context,
                    value_type: value_type.clone(),
                    is_last: chunks.peek().is_none(),
                    data: chunk.to_vec(),
                };
                let pdu = Pdu::PData { data: vec![value] };
                write_pdu(&mut bytes, &pdu).map_err(|e| DimseError::Encode(e.to_string()))?;
            }
        }
        self.send(&bytes)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), DimseError> {
        self.stream.write_all(bytes).map_err(|source| match source {
            e if is_gone(&e) => DimseError::Closed { place: "before our answer" },
            source => DimseError::Io { place: "answering", source },
        })
    }

    /// Says why, where there is somebody to say it to, and hangs up.
    pub(super) fn abort(mut self, error: &DimseError) {
        let Some(reason) = error.abort() else { return self.close() };
        let said = self.write(&Pdu::AbortRQ { source: AbortRQSource::ServiceProvider(reason) });
        if said.is_ok() {
            self.close();
        }
    }

    /// Hangs up, once the peer has had time to hear what was said last.
    pub(super) fn close(mut self) {
        let until = Instant::now() + LINGER;
        let mut drained = 0;
        if self.stream.shutdown(Shutdown::Write).is_err() {
            return;
        }
        while drained < LINGER_BYTES_MAX && !self.stopping.load(Ordering::Relaxed) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.stream.set_read_timeout(Some(left.min(GLANCE))).is_err() {
                return;
            }
            match self.stream.read(&mut self.scratch) {
                Ok(0) => return,
                Ok(count) => drained += count,
                Err(e) if is_pause(&e) => {}
                Err(_) => return,
            }
        }
    }
}

/// The other half of `TCP_NODELAY`: dcmtk and pynetdicom leave Nagle's algorithm on, so their data set waits until our
/// kernel acknowledges the command before it, and a kernel puts that off by 40 ms. Measured with storescu and a plan of
/// 2.6 KB: 22 objects a second without this, 2,500 with it. Linux forgets the setting, so it is made before each read.
fn acknowledge_at_once(stream: &TcpStream) {
    #[cfg(target_os = "linux")]
    {
        use std::os::linux::net::TcpStreamExt;
        // Only speed depends on it.
        let _ = stream.set_quickack(true);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = stream;
}

/// A read timeout (which of the two is up to the system), or a signal.
fn is_pause(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

fn is_gone(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe)
}
