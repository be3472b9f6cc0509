//! Writing past the page cache: what is large is on its way to the disk at once, and takes no memory that the kernel would
//! have to find and clear for it first. Where a file system has no such way, its files are written as ever.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// Memory pages and disk blocks: places, lengths and buffers are multiples of it.
const BLOCK: usize = 4_096;
/// In one go.
const CHUNK_BYTES: usize = 1024 * 1024;

/// A second handle on a file, that writes whole blocks.
pub(crate) struct Direct {
    file: File,
    /// Longer by a block, so that a stretch that begins at a block's border can be found in it.
    buffer: Vec<u8>,
}

impl Direct {
    /// Of the file that stands at `path`; none where another one stands there, or the file system has no such way.
    pub(crate) fn open(same: &File, path: &Path) -> Option<Self> {
        let flags = i32::try_from(OFlags::DIRECT.bits()).ok()?;
        let file = OpenOptions::new().write(true).custom_flags(flags).open(path).ok()?;
        let which = |file: &File| file.metadata().map(|found| (found.dev(), found.ino())).ok();
        (which(&file)? == which(same)?).then_some(Self { file, buffer: Vec::new() })
    }

    /// Splits what is to stand at `offset` into what comes before the first whole block, whole blocks, and the rest.
    pub(crate) fn split(offset: u64, bytes: &[u8]) -> (&[u8], &[u8], &[u8]) {
        let over = usize::try_from(offset % BLOCK as u64).unwrap_or(0);
        let (before, rest) = bytes.split_at(((BLOCK - over) % BLOCK).min(bytes.len()));
        let (blocks, behind) = rest.split_at(rest.len() / BLOCK * BLOCK);
        (before, blocks, behind)
    }

    /// Writes whole blocks at a block's border. `false`, with nothing written, where the file system refuses that.
    pub(crate) fn write(&mut self, blocks: &[u8], offset: u64) -> io::Result<bool> {
        self.buffer.resize(CHUNK_BYTES + BLOCK, 0);
        let start = self.buffer.as_ptr().align_offset(BLOCK);
        let mut at = offset;
        for chunk in blocks.chunks(CHUNK_BYTES) {
            let Some(place) = self.buffer.get_mut(start..start + chunk.len()) else { return Ok(false) };
            place.copy_from_slice(chunk);
            let mut rest = &*place;
            while !rest.is_empty() {
                match self.file.write_at(rest, at) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(written) => {
                        rest = rest.get(written..).unwrap_or_default();
                        at += written as u64;
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) if at == offset && error.kind() == io::ErrorKind::InvalidInput => return Ok(false),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(true)
    }
}
