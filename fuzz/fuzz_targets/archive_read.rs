//! What is inside a pack's or a transfer's age file: an error or its files, within the bounds; and what was read is written and read the
//! same.
#![no_main]

use archive::{Bounds, Contents, MANIFEST, Writer, compare, read, sha256};
use libfuzzer_sys::fuzz_target;

const BOUNDS: Bounds = Bounds { bytes: 64 * 1024, files: 16, name_bytes: 64, folders: true };

fuzz_target!(|data: &[u8]| {
    let mut contents = Contents::default();
    let ended = read(data, BOUNDS, |_| Some(BOUNDS.bytes), &mut contents);
    assert!(contents.files.len() <= BOUNDS.files && contents.kept.len() == contents.files.len());
    assert!(contents.kept.values().map(|bytes| bytes.len()).sum::<usize>() <= data.len());
    for (name, bytes) in &contents.kept {
        assert_eq!(contents.files[name], sha256(bytes));
        assert!(name.split('/').all(|part| !part.is_empty() && !part.starts_with('.')), "a path out of the folder");
        assert!(name.len() <= BOUNDS.name_bytes);
    }
    if let Some(manifest) = contents.kept.get(MANIFEST) {
        compare(manifest, &contents.files, &[]);
    }
    if ended.is_err() {
        return;
    }
    let mut writer = Writer::new(Vec::new(), Bounds { bytes: u64::MAX, ..BOUNDS });
    for (name, bytes) in &contents.kept {
        writer.add(name, bytes).expect("a name that was read");
    }
    assert_eq!(compare(writer.manifest().as_bytes(), &contents.files, &[]), manifest_itself(&contents));
    let mut again = Contents::default();
    let written = writer.finish().expect("an archive");
    read(written.as_slice(), Bounds { bytes: u64::MAX, ..BOUNDS }, |_| Some(u64::MAX), &mut again).expect("the same");
    assert_eq!(again, contents);
});

/// A manifest in it is no file that a manifest speaks of.
fn manifest_itself(contents: &Contents) -> Vec<archive::Wrong> {
    let is_in_it = contents.files.contains_key(MANIFEST);
    is_in_it.then(|| archive::Wrong::Missing { name: MANIFEST.to_owned() }).into_iter().collect()
}
