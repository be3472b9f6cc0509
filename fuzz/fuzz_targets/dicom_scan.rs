//! The depth-capped scan over any bytes, as a file and as a bare data set in both encodings; then all that it found.
#![no_main]

use libfuzzer_sys::fuzz_target;
use treatment::dicom::scan::{Set, Tree};

fuzz_target!(|data: &[u8]| {
    if let Ok(tree) = Tree::of_file(data) {
        walk(tree.root(), 0);
    }
    for syntax in ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"] {
        if let Ok(tree) = Tree::of_data_set(data, syntax) {
            walk(tree.root(), 0);
        }
    }
});

/// Recursion is safe exactly because the scan bounded the depth: that is what is tested.
fn walk(set: Set<'_>, depth: usize) {
    assert!(depth <= treatment::dicom::scan::DEPTH_MAX);
    for element in set.elements() {
        std::hint::black_box((element.tag(), element.vr(), element.bytes()));
        element.items().for_each(|item| walk(item, depth + 1));
    }
}
