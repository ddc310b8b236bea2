//! Files of torch, of both formats: each is refused or gives tensors of the sizes that it says, without a panic or much memory.
#![no_main]

use std::io::Cursor;

use cirio_hub::pth::Checkpoint;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut file) = Checkpoint::read(Cursor::new(bytes), None) else { return };
    let tensors: Vec<(String, usize)> = file
        .tensors()
        .map(|(name, dtype, shape)| (name.to_owned(), dtype.bitsize() / 8 * shape.iter().product::<usize>()))
        .collect();
    assert!(!tensors.is_empty(), "a file without tensors is refused");
    for (name, size) in tensors {
        let mut read = 0;
        let count = &mut |piece: &[u8]| {
            read += piece.len();
            Ok(())
        };
        file.copy(&name, count).expect("its storage is in the file");
        assert_eq!(read, size, "{name}");
    }
});
