//! A location in a folder: volumes that are only ever appended to, and an index of them in memory.
//!
//! One object per file was rejected: measured, a new file with its two syncs costs three times one synced append.
//! Nothing here overwrites, truncates or deletes. `docs/formats/location.md` has the bytes.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::ops::{Bound, Range};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use kit::Id16;
use rustix::buffer::spare_capacity;
use rustix::io::Errno;

use crate::direct::{BLOCK, Direct};
use crate::marker::{MARKER, MARKER_DRAFT, Marker};
use crate::record::{self, CHECKSUM_BYTES};
use crate::{Listed, Location, LocationError, Name, Object, Put, Refusal, Stats, check_batch};

/// A volume that would grow past this is left as it is, and the next one begun: small enough to copy and to lose
/// alone, large enough that a terabyte is four thousand files.
pub const VOLUME_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Volumes held open for reading: fourteen folders in one process stay far below the usual 1,024 files.
const OPEN_VOLUMES_MAX: usize = 16;

/// Small records are written together; a shard's body is larger than this and goes past the buffer uncopied.
const WRITE_BUFFER_BYTES: usize = 64 * 1024;
/// From so much on the page cache is passed by.
const DIRECT_BYTES_MIN: usize = 256 * 1024;

const LOCK: &str = "lock";
const VOLUMES: &str = "volumes";

/// What the file system puts into a new disk.
const LOST_AND_FOUND: &str = "lost+found";

/// What opening a folder came upon. More than nothing in the last three is worth a line on the posture page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    pub volumes: u64,
    pub objects: u64,
    /// Bytes between records that are none: damage. Their objects are missing.
    pub skipped_bytes: u64,
    /// Bytes behind a volume's last record: an append cut short. None of it was acknowledged, unless the volume
    /// was truncated.
    pub torn_bytes: u64,
    /// Files that are none of ours; left alone.
    pub foreign_files: u64,
}

pub struct FolderLocation {
    dir: PathBuf,
    marker: Marker,
    volumes: PathBuf,
    /// Held as long as the location is open: two writers would hand out one name twice.
    lock: File,
    opened: Opened,
    index: RwLock<Index>,
    writer: Mutex<Writer>,
    readers: Mutex<VecDeque<(u32, Arc<File>)>>,
}

#[derive(Default)]
struct Index {
    held: BTreeMap<Name, Held>,
    stats: Stats,
}

/// The records of one name. There is more than one only where all but the last were damaged, or never acknowledged:
/// a record is appended only while its name is free. So the last one that is whole counts.
struct Held {
    last: Place,
    earlier: Vec<Place>,
}

#[derive(Clone, Copy)]
struct Place {
    volume: u32,
    offset: u64,
    body_len: u32,
}

impl Index {
    fn insert(&mut self, name: Name, place: Place) {
        match self.held.entry(name) {
            Entry::Vacant(vacant) => {
                vacant.insert(Held { last: place, earlier: Vec::new() });
                self.stats.objects += 1;
            }
            Entry::Occupied(mut occupied) => {
                let held = occupied.get_mut();
                self.stats.bytes -= u64::from(held.last.body_len);
                let before = std::mem::replace(&mut held.last, place);
                held.earlier.push(before);
            }
        }
        self.stats.bytes += u64::from(place.body_len);
    }
}

struct Writer {
    /// The volume that is appended to; `None` before the first append, and after a failed one.
    open: Option<Volume>,
    /// The number of the next new volume.
    next: u32,
}

struct Volume {
    number: u32,
    file: File,
    /// With what waits in the buffer.
    len: u64,
    buffer: Vec<u8>,
    direct: Option<Direct>,
}

impl Volume {
    fn new(number: u32, file: File, len: u64) -> Self {
        Self { number, file, len, buffer: Vec::new(), direct: None }
    }

    /// Where its file stands, for what is large.
    fn at(mut self, path: &Path) -> Self {
        self.direct = Direct::open(&self.file, path);
        self
    }

    /// Writes a record, and gives where it begins. What is large is whole blocks by itself, and no block is written both ways.
    fn put(&mut self, head: &[u8], object: &Object<'_>) -> io::Result<u64> {
        let checksum = record::checksum(head, object.parts);
        let mut parts = vec![head];
        parts.extend(object.parts);
        parts.push(&checksum);
        let bytes = parts.iter().map(|part| part.len()).sum::<usize>();
        if bytes < DIRECT_BYTES_MIN || self.direct.is_none() {
            let offset = self.len;
            parts.into_iter().try_for_each(|part| self.write(part))?;
            return Ok(offset);
        }
        self.write(&record::filling(self.len, BLOCK))?;
        self.flush()?;
        let offset = self.len;
        let behind = record::filling(offset + bytes as u64, BLOCK);
        parts.push(&behind);
        self.len += (bytes + behind.len()) as u64;
        if let Some(direct) = &mut self.direct
            && !direct.write(&parts, offset)?
        {
            self.direct = None;
            parts.into_iter().try_for_each(|part| self.file.write_all(part))?;
        }
        Ok(offset)
    }

    /// Small pieces wait to be written together. (`BufWriter` would write what waits when an error drops it.)
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.len += bytes.len() as u64;
        if self.buffer.len() + bytes.len() > WRITE_BUFFER_BYTES {
            self.flush()?;
        }
        if bytes.len() > WRITE_BUFFER_BYTES {
            return self.file.write_all(bytes);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    fn is_as_long_as_written(&self) -> bool {
        self.file.metadata().is_ok_and(|file| file.len() + self.buffer.len() as u64 == self.len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.flush()?;
        self.file.sync_data()
    }
}

impl FolderLocation {
    /// Makes an empty location in `dir`, which is missing or empty, and opens it. An `init` that a crash cut short
    /// can be run again.
    pub fn init(dir: &Path, marker: Marker) -> Result<Self, LocationError> {
        let place = dir.display().to_string();
        let refused = |reason| LocationError::Refused { location: place.clone(), reason };
        let io = |operation| {
            let location = place.clone();
            move |source| LocationError::Io { location, operation, source }
        };
        if !marker.is_sound() {
            return Err(refused(Refusal::MarkerDamaged));
        }
        let existing = dir.ancestors().find(|above| above.is_dir()).unwrap_or(dir);
        fs::create_dir_all(dir).map_err(io("making the folder"))?;
        // A folder's name is durable when the one above it is synced.
        for above in dir.ancestors().skip(1).take_while(|above| above.starts_with(existing)) {
            let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
            sync_dir(above).map_err(io("syncing the folder above"))?;
        }
        for entry in entries(dir).map_err(io("listing the folder"))? {
            let name = entry.file_name();
            let ours = [LOST_AND_FOUND, LOCK, MARKER_DRAFT, VOLUMES].iter().any(|ours| name == *ours);
            let empty = name != VOLUMES || entries(&entry.path()).is_ok_and(|inner| inner.is_empty());
            if !ours || !empty {
                return Err(refused(Refusal::NotEmpty { entry: name.to_string_lossy().into_owned() }));
            }
        }
        let volumes = dir.join(VOLUMES);
        if !volumes.is_dir() {
            fs::create_dir(&volumes).map_err(io("making the folder of volumes"))?;
        }
        marker.write(dir).map_err(io("writing the marker"))?;
        Self::open_as(dir, marker)
    }

    /// Opens `vault`'s location in `dir`, reading the heads of all records.
    pub fn open(dir: &Path, vault: Id16) -> Result<Self, LocationError> {
        let marker = Marker::read(dir)?;
        if marker.vault() != vault {
            let reason = Refusal::OtherVault { expected: vault, found: marker.vault() };
            return Err(LocationError::Refused { location: marker.location().to_owned(), reason });
        }
        Self::open_as(dir, marker)
    }

    /// Opens what stands in `dir` as what `marker` says, whatever marker stands there.
    pub fn open_as(dir: &Path, marker: Marker) -> Result<Self, LocationError> {
        let location = marker.location().to_owned();
        let refused = |reason| LocationError::Refused { location: location.clone(), reason };
        let io = |operation| {
            let location = location.clone();
            move |source| LocationError::Io { location, operation, source }
        };
        let volumes = dir.join(VOLUMES);
        // First of all: nothing is left in a folder that is no location.
        let inner = entries(&volumes).map_err(io("listing the volumes"))?;
        let lock = File::options().create(true).truncate(false).write(true).open(dir.join(LOCK));
        let lock = lock.map_err(io("opening the lock file"))?;
        match kit::lock_file(&lock) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(refused(Refusal::InUse)),
            Err(TryLockError::Error(error)) => return Err(io("locking")(error)),
        }

        let ours = [LOST_AND_FOUND, LOCK, MARKER, VOLUMES];
        let beside = entries(dir).map_err(io("listing the folder"))?;
        let foreign = beside.iter().filter(|entry| ours.iter().all(|ours| entry.file_name() != *ours)).count() as u64;
        let mut opened = Opened { foreign_files: foreign, ..Opened::default() };

        let mut numbers = BTreeSet::new();
        for entry in inner {
            match volume_number(&entry.file_name().to_string_lossy()) {
                Some(number) => drop(numbers.insert(number)),
                None => opened.foreign_files += 1,
            }
        }
        let mut index = Index::default();
        let mut writer = Writer { open: None, next: 1 };
        for number in numbers {
            let file = File::options().read(true).append(true).open(volumes.join(volume_name(number)));
            let file = file.map_err(io("opening a volume"))?;
            let scan = record::scan(&file, |name, offset, body_len| {
                index.insert(name, Place { volume: number, offset, body_len });
            });
            let scan = scan.map_err(io("scanning a volume"))?;
            // What a killed process wrote may be read here and not be durable yet; from now on it counts as kept.
            file.sync_data().map_err(io("syncing a volume"))?;
            opened.volumes += 1;
            opened.skipped_bytes += scan.skipped;
            opened.torn_bytes += scan.torn;
            // A torn tail is never written over: it may be somebody's evidence, and a scan passes over it.
            let go_on = scan.torn == 0 && scan.len < VOLUME_BYTES_MAX;
            writer.open = go_on.then(|| Volume::new(number, file, scan.len).at(&volumes.join(volume_name(number))));
            writer.next = number.saturating_add(1);
        }
        sync_dir(&volumes).map_err(io("syncing the folder of volumes"))?;
        opened.objects = index.stats.objects;
        Ok(Self {
            dir: dir.to_owned(),
            marker,
            volumes,
            lock,
            opened,
            index: RwLock::new(index),
            writer: Mutex::new(writer),
            readers: Mutex::new(VecDeque::new()),
        })
    }

    /// Makes the folder of volumes again where the marker stands and that folder doesn't: whoever emptied a disk may have
    /// left the one and taken the other.
    pub fn make_volumes(dir: &Path) -> Result<(), LocationError> {
        if !dir.join(MARKER).exists() || dir.join(VOLUMES).exists() {
            return Ok(());
        }
        let location = dir.display().to_string();
        let made = fs::create_dir(dir.join(VOLUMES)).and_then(|()| sync_dir(dir));
        made.map_err(|source| LocationError::Io { location, operation: "making the folder of volumes", source })
    }

    pub fn marker(&self) -> &Marker {
        &self.marker
    }

    /// Gives the folder another marker, and goes by it from now on. The old one stays beside it, as evidence.
    pub fn mark(mut self, marker: Marker) -> Result<Self, LocationError> {
        if !marker.is_sound() {
            let location = self.marker.location().to_owned();
            return Err(LocationError::Refused { location, reason: Refusal::MarkerDamaged });
        }
        marker.replace(&self.dir).map_err(self.io("writing the marker"))?;
        self.marker = marker;
        Ok(self)
    }

    /// The number of the volume that is appended to, or was last; 0 where there is none.
    pub fn newest_volume(&self) -> u32 {
        self.writer().next.saturating_sub(1)
    }

    /// The volumes that there are, by number, with the objects that count in each.
    pub fn volumes(&self) -> Result<Vec<(u32, PathBuf, Stats)>, LocationError> {
        let mut stats: BTreeMap<u32, Stats> = BTreeMap::new();
        for entry in entries(&self.volumes).map_err(self.io("listing the volumes"))? {
            stats.extend(volume_number(&entry.file_name().to_string_lossy()).map(|number| (number, Stats::default())));
        }
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        for held in index.held.values() {
            let stats = stats.entry(held.last.volume).or_default();
            stats.objects += 1;
            stats.bytes += u64::from(held.last.body_len);
        }
        Ok(stats.into_iter().map(|(number, stats)| (number, self.volumes.join(volume_name(number)), stats)).collect())
    }

    /// What opening came upon.
    pub fn opened(&self) -> Opened {
        self.opened
    }

    fn io(&self, operation: &'static str) -> impl FnOnce(io::Error) -> LocationError {
        let location = self.marker.location().to_owned();
        move |source| LocationError::Io { location, operation, source }
    }

    /// The folder is still the one that was opened: what is written into one that was removed is nowhere, though no call
    /// fails.
    fn check(&self) -> Result<(), LocationError> {
        let same = is_at(&self.lock, &self.dir.join(LOCK)).map_err(self.io("looking at the folder"))?;
        if same { Ok(()) } else { Err(self.gone()) }
    }

    fn gone(&self) -> LocationError {
        let reason = "its folder was removed, or another one stands in its place".to_owned();
        LocationError::Gone { location: self.marker.location().to_owned(), reason }
    }

    /// The name's records, the one that counts first.
    fn places(&self, name: &Name) -> Vec<Place> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        index.held.get(name).map_or_else(Vec::new, |held| {
            std::iter::once(held.last).chain(held.earlier.iter().rev().copied()).collect()
        })
    }

    /// The body at `place`, compared with its head and checksum; `None` where they differ or the record has gone.
    fn read_whole(&self, name: &Name, place: Place) -> Result<Option<Vec<u8>>, LocationError> {
        let Some(file) = self.reader(place.volume)? else { return Ok(None) };
        let expected = record::head(name, place.body_len);
        let body_at = place.offset + expected.len() as u64;
        let head = read_at(&file, place.offset, expected.len()).map_err(self.io("reading"))?;
        let body = read_at(&file, body_at, place.body_len as usize + CHECKSUM_BYTES).map_err(self.io("reading"))?;
        let (Some(head), Some(mut body)) = (head, body) else { return Ok(None) };
        let checksum = body.split_off(place.body_len as usize);
        Ok((head == expected && record::checksum(&head, &[&body]) == checksum.as_slice()).then_some(body))
    }

    fn read_range(&self, name: &Name, place: Place, range: Range<u64>) -> Result<Option<Vec<u8>>, LocationError> {
        let Some(file) = self.reader(place.volume)? else { return Ok(None) };
        let len = u64::from(place.body_len);
        let (start, end) = (range.start.min(len), range.end.min(len));
        let body = place.offset + (record::HEAD_BYTES + name.as_str().len()) as u64;
        let bytes = usize::try_from(end.saturating_sub(start)).unwrap_or(0);
        read_at(&file, body + start, bytes).map_err(self.io("reading"))
    }

    /// The volume, opened for reading; `None` where it was taken away.
    fn reader(&self, number: u32) -> Result<Option<Arc<File>>, LocationError> {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        let at = readers.iter().position(|(open, _)| *open == number);
        if let Some(reader) = at.and_then(|at| readers.remove(at)) {
            if !is_at(&reader.1, &self.volumes.join(volume_name(number))).map_err(self.io("looking at a volume"))? {
                return Ok(None);
            }
            let file = Arc::clone(&reader.1);
            readers.push_back(reader);
            return Ok(Some(file));
        }
        let file = match File::open(self.volumes.join(volume_name(number))) {
            Ok(file) => Arc::new(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.io("opening a volume")(error)),
        };
        if readers.len() >= OPEN_VOLUMES_MAX {
            readers.pop_front();
        }
        readers.push_back((number, Arc::clone(&file)));
        Ok(Some(file))
    }

    fn is_taken(&self, name: &Name) -> Result<bool, LocationError> {
        for place in self.places(name) {
            if self.read_whole(name, place)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Writes the objects behind the open volume, or behind a new one, and syncs. After an error the open volume is
    /// left as it is, for good.
    fn append(&self, writer: &mut Writer, objects: &[&Object<'_>]) -> Result<Vec<Place>, io::Error> {
        let mut places = Vec::with_capacity(objects.len());
        // A volume that somebody cut short is left as it is, like any torn one: what is written behind it would be looked
        // for where it doesn't stand.
        let mut volume = writer.open.take().filter(Volume::is_as_long_as_written);
        for object in objects {
            let body_len = u32::try_from(object.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
            // With the longest filling before it and behind it.
            let len = record::record_len(object.name, body_len) + 4 * BLOCK as u64;
            let mut open = match volume.take() {
                Some(open) if open.len + len <= VOLUME_BYTES_MAX => open,
                Some(mut full) => {
                    self.sync(&mut full)?;
                    self.new_volume(writer)?
                }
                None => self.new_volume(writer)?,
            };
            let offset = open.put(&record::head(object.name, body_len), object)?;
            places.push(Place { volume: open.number, offset, body_len });
            volume = Some(open);
        }
        if let Some(open) = &mut volume {
            self.sync(open)?;
        }
        writer.open = volume;
        Ok(places)
    }

    /// Durable on return, and in the folder.
    fn sync(&self, volume: &mut Volume) -> io::Result<()> {
        volume.sync()?;
        let same = is_at(&volume.file, &self.volumes.join(volume_name(volume.number)))?;
        match (same, volume.is_as_long_as_written()) {
            (true, true) => Ok(()),
            (true, false) => Err(io::Error::other("the volume's length was changed by somebody else")),
            (false, _) => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn new_volume(&self, writer: &mut Writer) -> io::Result<Volume> {
        let number = writer.next;
        let path = self.volumes.join(volume_name(number));
        let file = File::options().create_new(true).append(true).open(&path)?;
        writer.next = number.checked_add(1).ok_or(io::ErrorKind::StorageFull)?;
        sync_dir(&self.volumes)?;
        Ok(Volume::new(number, file, 0).at(&path))
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a file that can't be written in the place of the open volume.
    #[cfg(test)]
    pub(crate) fn fail_next_append(&self, file: File) {
        let len = file.metadata().map_or(0, |file| file.len());
        self.writer().open = Some(Volume::new(0, file, len));
    }
}

impl Location for FolderLocation {
    fn id(&self) -> &str {
        self.marker.location()
    }

    fn put_if_absent(&self, objects: &[Object<'_>]) -> Result<Vec<Put>, LocationError> {
        check_batch(objects)?;
        let mut writer = self.writer();
        let mut results = Vec::with_capacity(objects.len());
        let (mut new, mut names) = (Vec::new(), BTreeSet::new());
        for object in objects {
            if !names.insert(object.name) || self.is_taken(object.name)? {
                results.push(Put::Exists);
            } else {
                results.push(Put::Created);
                new.push(object);
            }
        }
        if new.is_empty() {
            return self.check().map(|()| results);
        }
        let places = self.append(&mut writer, &new).map_err(|error| match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => LocationError::Full {
                location: self.marker.location().to_owned(),
                bytes: new.iter().map(|object| object.len() as u64).sum(),
            },
            io::ErrorKind::NotFound => self.gone(),
            _ => self.io("appending")(error),
        })?;
        self.check()?;
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        for (object, place) in new.iter().zip(places) {
            index.insert(object.name.clone(), place);
        }
        Ok(results)
    }

    fn get(&self, name: &Name, range: Option<Range<u64>>) -> Result<Option<Vec<u8>>, LocationError> {
        self.check()?;
        let places = self.places(name);
        let damaged = LocationError::Damaged { location: self.marker.location().to_owned(), name: name.clone() };
        match (places.as_slice(), range) {
            ([], _) => Ok(None),
            // A part can't be compared with the whole's checksum; the reader who wants parts has hashes of them.
            ([place], Some(range)) => self.read_range(name, *place, range)?.ok_or(damaged).map(Some),
            (places, range) => {
                for place in places {
                    if let Some(body) = self.read_whole(name, *place)? {
                        return Ok(Some(match range {
                            None => body,
                            Some(range) => clip(body, range),
                        }));
                    }
                }
                Err(damaged)
            }
        }
    }

    fn get_to_compare(&self, name: &Name) -> Result<Option<Vec<u8>>, LocationError> {
        match self.places(name).as_slice() {
            [place] => self.get(name, Some(0..u64::from(place.body_len))),
            // Which of several counts, their checksums say.
            _ => self.get(name, None),
        }
    }

    fn list(&self, after: Option<&Name>, limit: usize) -> Result<Vec<Listed>, LocationError> {
        self.check()?;
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let held = index.held.range::<Name, _>((from, Bound::Unbounded)).take(limit);
        Ok(held.map(|(name, held)| Listed { name: name.clone(), len: held.last.body_len.into() }).collect())
    }

    fn stats(&self) -> Result<Stats, LocationError> {
        self.check()?;
        Ok(self.index.read().unwrap_or_else(PoisonError::into_inner).stats)
    }
}

/// So many bytes from `offset` on; `None` where the file ends before them. Into memory that nobody cleared for it first.
fn read_at(file: &File, offset: u64, bytes: usize) -> io::Result<Option<Vec<u8>>> {
    let mut read = Vec::with_capacity(bytes);
    while read.len() < bytes {
        let at = offset + read.len() as u64;
        match rustix::io::pread(file, spare_capacity(&mut read), at) {
            Ok(0) => return Ok(None),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // There may have been room for more.
    read.truncate(bytes);
    Ok(Some(read))
}

fn clip(mut body: Vec<u8>, range: Range<u64>) -> Vec<u8> {
    body.truncate(usize::try_from(range.end).unwrap_or(usize::MAX));
    body.split_off(usize::try_from(range.start).unwrap_or(usize::MAX).min(body.len()))
}

/// The open file is what stands at `path`.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let open = file.metadata()?;
    match fs::metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (open.dev(), open.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn volume_name(number: u32) -> String {
    format!("{number:06}.vol")
}

fn volume_number(name: &str) -> Option<u32> {
    let number = name.strip_suffix(".vol")?.parse().ok()?;
    (number > 0 && volume_name(number) == name).then_some(number)
}

fn entries(dir: &Path) -> io::Result<Vec<fs::DirEntry>> {
    fs::read_dir(dir)?.collect()
}

pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
