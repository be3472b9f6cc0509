//! Writing past the page cache: what is large is on its way to the disk at once, and takes no memory that the kernel would
//! have to find and clear for it first. Where a file system has no such way, its files are written as ever.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// Memory pages and disk blocks: places, lengths and buffers are multiples of it.
pub(crate) const BLOCK: usize = 4_096;
/// In one go: the largest shard with what stands before it.
const CHUNK_BYTES: usize = 1024 * 1024 + 16 * BLOCK;

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

    /// Writes `parts`, one behind the other and whole blocks in all, at a block's border. `false`, with nothing written, where
    /// the file system refuses that.
    pub(crate) fn write(&mut self, parts: &[&[u8]], offset: u64) -> io::Result<bool> {
        let Self { file, buffer } = self;
        buffer.resize(CHUNK_BYTES + BLOCK, 0);
        let start = buffer.as_ptr().align_offset(BLOCK);
        let Some(place) = buffer.get_mut(start..start + CHUNK_BYTES) else { return Ok(false) };
        let (mut at, mut used) = (offset, 0);
        for mut rest in parts.iter().copied() {
            while let Some(free) = place.get_mut(used..).filter(|_| !rest.is_empty()) {
                let (part, behind) = rest.split_at(rest.len().min(free.len()));
                free.iter_mut().zip(part).for_each(|(to, from)| *to = *from);
                (used, rest) = (used + part.len(), behind);
                if used == CHUNK_BYTES {
                    if !write_all(file, place, at, offset)? {
                        return Ok(false);
                    }
                    (at, used) = (at + used as u64, 0);
                }
            }
        }
        write_all(file, place.get(..used).unwrap_or_default(), at, offset)
    }
}

/// `false` where the very first of what began at `first` is refused.
fn write_all(file: &File, mut rest: &[u8], mut at: u64, first: u64) -> io::Result<bool> {
    while !rest.is_empty() {
        match file.write_at(rest, at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                rest = rest.get(written..).unwrap_or_default();
                at += written as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if at == first && error.kind() == io::ErrorKind::InvalidInput => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}
