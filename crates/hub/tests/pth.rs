//! Files of torch: some that torch wrote (`torch/make.py`), and hostile ones.

use std::io::{Cursor, Write};
use std::path::PathBuf;
use std::{fs, io};

use cirio_hub::pth::{self, Checkpoint};
use proptest::prelude::*;
use safetensors::Dtype;
use zip::write::SimpleFileOptions;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/torch").join(name)
}

type InMemory = Checkpoint<Cursor<Vec<u8>>>;

fn read(bytes: &[u8]) -> Result<InMemory, String> {
    Checkpoint::read(Cursor::new(bytes.to_vec()), None)
}

/// The bytes of all tensors, one after the other.
fn all<R: io::Read + io::Seek>(checkpoint: &mut Checkpoint<R>) -> io::Result<Vec<u8>> {
    let names: Vec<String> = checkpoint.tensors().map(|(name, ..)| name.to_owned()).collect();
    let mut bytes = Vec::new();
    for name in names {
        checkpoint.copy(&name, &mut |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
    }
    Ok(bytes)
}

#[track_caller]
fn refused(bytes: &[u8], words: &str) {
    let error = read(bytes).err().unwrap_or_else(|| panic!("wanted `{words}`, it was read"));
    assert!(error.contains(words) && error.lines().count() == 1, "wanted `{words}`: {error}");
}

/// A legacy file: this pickle of an object, these storages.
fn legacy(object: &[u8], storages: &[(&str, u64, &[u8])]) -> Vec<u8> {
    let mut bytes = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}X\x0d\x00\x00\x00little_endian\x88s.".to_vec();
    bytes.extend_from_slice(object);
    bytes.extend_from_slice(b"\x80\x02](");
    for (key, ..) in storages {
        bytes.extend_from_slice(&text(key));
    }
    bytes.extend_from_slice(b"e.");
    for (_, count, data) in storages {
        bytes.extend_from_slice(&count.to_le_bytes());
        bytes.extend_from_slice(data);
    }
    bytes
}

/// Pushes a text.
fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

/// Pushes a whole number.
fn number(number: i64) -> Vec<u8> {
    [b"\x8a\x08", &number.to_le_bytes()[..]].concat()
}

fn tuple(items: &[Vec<u8>]) -> Vec<u8> {
    [b"(".to_vec(), items.concat(), b"t".to_vec()].concat()
}

fn numbers(items: &[i64]) -> Vec<u8> {
    tuple(&items.iter().map(|&item| number(item)).collect::<Vec<_>>())
}

/// Pushes a tensor of a float storage "0" with `count` numbers.
fn tensor(count: i64, offset: i64, sizes: &[i64], strides: &[i64]) -> Vec<u8> {
    let storage = [tuple(&[text("storage"), b"ctorch\nFloatStorage\n".to_vec(), text("0"), text("cpu"), number(count)]), b"Q".to_vec()];
    let arguments = tuple(&[storage.concat(), number(offset), numbers(sizes), numbers(strides), b"\x89".to_vec(), b"N".to_vec()]);
    [b"ctorch._utils\n_rebuild_tensor_v2\n".to_vec(), arguments, b"R".to_vec()].concat()
}

/// The pickle of a dictionary.
fn dict(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let entries: Vec<Vec<u8>> = entries.iter().map(|(key, value)| [text(key), value.clone()].concat()).collect();
    [b"\x80\x02}(".to_vec(), entries.concat(), b"u.".to_vec()].concat()
}

/// A file of one tensor "w" with a storage of four floats, 1 to 4.
fn one(tensor: Vec<u8>) -> Vec<u8> {
    legacy(&dict(&[("w", tensor)]), &[("0", 4, &four())])
}

fn four() -> Vec<u8> {
    floats(&[1.0, 2.0, 3.0, 4.0])
}

fn floats(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// A zip archive of stored files.
fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, data) in files {
        zip.start_file(*name, SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored)).unwrap();
        zip.write_all(data).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn both_formats_of_torch_give_the_same_tensors() {
    for (name, format) in [("zip.pth", "torch zip archive"), ("legacy.pth", "torch legacy file")] {
        let mut file = pth::open(&path(name), None).unwrap();
        assert_eq!((file.format(), file.key(), file.dropped()), (format, None, &[][..]));
        let halves = |numbers: [f32; 2]| numbers.map(|number| half::f16::from_f32(number).to_le_bytes()).concat();
        let expected: [(&str, Dtype, &[usize], Vec<u8>); 14] = [
            ("bfloat", Dtype::BF16, &[2], [1.0, -3.0].map(|number| half::bf16::from_f32(number).to_le_bytes()).concat()),
            ("bool", Dtype::BOOL, &[2], vec![1, 0]),
            ("byte", Dtype::U8, &[1], vec![255]),
            ("char", Dtype::I8, &[1], vec![128]),
            ("double", Dtype::F64, &[2], [0.1f64, -1e300].map(f64::to_le_bytes).concat()),
            ("empty", Dtype::F32, &[0, 3], vec![]),
            ("half", Dtype::F16, &[2], halves([0.5, 65504.0])),
            ("int", Dtype::I32, &[1], i32::MAX.to_le_bytes().to_vec()),
            ("long", Dtype::I64, &[], (-5i64).to_le_bytes().to_vec()),
            ("parameter", Dtype::F32, &[2], floats(&[1.5, -2.0])),
            ("part", Dtype::F32, &[2, 2], floats(&[1.0, 1.25, 1.5, 1.75])),
            ("plain", Dtype::F32, &[2, 3, 4], floats(&(0..24u8).map(|at| f32::from(at) / 8.0).collect::<Vec<_>>())),
            ("short", Dtype::I16, &[1], (-300i16).to_le_bytes().to_vec()),
            ("transposed", Dtype::F32, &[3, 2], floats(&[0.0, 3.0, 1.0, 4.0, 2.0, 5.0])),
        ];
        let found: Vec<(String, Dtype, Vec<usize>)> =
            file.tensors().map(|(name, dtype, shape)| (name.to_owned(), dtype, shape.to_vec())).collect();
        assert_eq!(found, expected.clone().map(|(name, dtype, shape, _)| (name.to_owned(), dtype, shape.to_vec())));
        for (name, _, _, bytes) in expected {
            let mut got = Vec::new();
            file.copy(name, &mut |piece| got.write_all(piece)).unwrap();
            assert_eq!(got, bytes, "{name}");
        }
        assert!(file.copy("nothing", &mut |_| Ok(())).is_err());
    }
}

#[test]
fn the_weights_in_a_checkpoint_are_found_or_chosen() {
    let file = path("checkpoint.pth");
    let found = pth::open(&file, None).unwrap();
    assert_eq!(found.key(), Some("model"));
    let names: Vec<&str> = found.tensors().map(|(name, ..)| name).collect();
    let kinds = ["0.bias", "0.weight", "1.bias", "1.num_batches_tracked", "1.running_mean", "1.running_var", "1.weight"];
    assert_eq!(names, kinds.map(|name| format!("module.{name}")));
    assert_eq!(found.dropped(), ["epoch", "best", "optimizer", "args"].map(|name| format!("{name} (beside the weights)")));

    let chosen = pth::open(&file, Some("optimizer")).unwrap();
    assert_eq!(chosen.tensors().next().map(|(name, ..)| name.to_owned()).as_deref(), Some("state.0.momentum_buffer"));
    let error = pth::open(&file, Some("ema")).unwrap_err().to_string();
    assert!(error.contains("no entry \"ema\"; its entries are epoch, best, model, optimizer, args"), "{error}");
    let error = pth::open(&file, Some("epoch")).unwrap_err().to_string();
    assert!(error.contains("its entry \"epoch\" holds no tensors"), "{error}");
}

#[test]
fn several_dictionaries_of_tensors_are_a_question() {
    let inner = || [b"}".to_vec(), text("w"), tensor(4, 0, &[4], &[1]), b"s".to_vec()].concat();
    let bytes = |names: &[&str]| {
        let entries: Vec<(&str, Vec<u8>)> = names.iter().map(|name| (*name, inner())).collect();
        legacy(&dict(&entries), &[("0", 4, &four())])
    };
    refused(&bytes(&["generator", "critic"]), "several of its entries hold tensors: choose generator, critic");
    assert_eq!(read(&bytes(&["critic"])).unwrap().key(), Some("critic"));
    assert_eq!(read(&bytes(&["ema", "state_dict"])).unwrap().key(), Some("state_dict"));
    let scored = dict(&[("best", tensor(4, 0, &[], &[])), ("model", inner())]);
    assert_eq!(read(&legacy(&scored, &[("0", 4, &four())])).unwrap().key(), Some("model"), "a score beside the weights");
}

#[test]
fn a_whole_model_is_refused_with_the_way_out() {
    let error = pth::open(&path("model.pth"), None).unwrap_err().to_string();
    assert!(error.contains("model.pth") && error.contains("torch.save(model.state_dict(), …)"), "{error}");
    refused(&legacy(b"\x80\x02c__main__\nNet\n.", &[]), "class `__main__.Net`");
    refused(&legacy(b"\x80\x02c__torch__.net\nNet\n.", &[]), "TorchScript");
}

#[test]
fn calls_are_refused_by_name() {
    for (module, name) in
        [("posix", "system"), ("os", "system"), ("builtins", "eval"), ("__builtin__", "getattr"), ("torch", "load"), ("torch.hub", "load")]
    {
        let words = format!("refers to `{module}.{name}`, which is refused");
        refused(&legacy(format!("\u{2}c{module}\n{name}\nX\u{2}\0\0\0id\u{85}R.").as_bytes(), &[]), "opcode 0x02");
        let old = [b"\x80\x02c", format!("{module}\n{name}\n").as_bytes(), &text("id"), b"\x85R."].concat();
        refused(&legacy(&old, &[]), &words);
        let new = [b"\x80\x04", &text(module)[..], &text(name), b"\x93", &text("id"), b"\x85R."].concat();
        refused(&legacy(&new, &[]), &words);
        refused(&archive(&[("archive/data.pkl", &new)]), &words);
    }
    refused(&legacy(b"\x80\x02ctorch\nComplexFloatStorage\n.", &[]), "a type that is not read (`torch.ComplexFloatStorage`)");
    refused(&legacy(b"\x80\x02ca\x1b[31m\nb\n.", &[]), "`a\\u{1b}[31m.b`");
    for opcode in *b"ioSVIFPD\x82\x83\x84\x92" {
        refused(&legacy(&[0x80, 2, opcode], &[]), &format!("the opcode 0x{opcode:02x}"));
    }
}

#[test]
fn pickles_that_lie_are_refused() {
    for (pickle, words) in [
        (&b"\x80\x09."[..], "protocol 9"),
        (b"\x80\x02.", "values that are not there"),
        (b"\x80\x02(t.", "no dictionary"),
        (b"\x80\x02t.", "values that are not there"),
        (b"\x80\x02N(\x85.", "values that are not there"),
        (b"\x80\x02N(0q\x00.", "no dictionary"),
        (b"\x80\x02h\x07.", "value 7, which is not there"),
        (b"\x80\x02}Ns.", "no dictionary"),
        (b"\x80\x02}(Nu.", "a key without a value"),
        (b"\x80\x02\x88NNs.", "no dictionary"),
        (b"\x80\x02\x88Na.", "no list"),
        (b"\x80\x02NNR.", "no function"),
        (b"\x80\x02ctorch\nSize\nNR.", "without a list of arguments"),
        (b"\x80\x02NQ.", "a storage in an unknown way"),
        (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.", "unknown arguments"),
        (b"\x80\x02X\xff\xff\xff\xffabc", "ends in the middle"),
        (b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xffabc", "ends in the middle"),
        (b"\x80\x02\x8a\xff12", "ends in the middle"),
        (b"\x80\x02ctorch", "ends in the middle"),
    ] {
        let whole = legacy(pickle, &[]);
        let before = whole.len() - b"\x80\x02](e.".len();
        refused(if words.contains("middle") { &whole[..before] } else { &whole }, words);
    }
    refused(b"", "neither a zip archive nor");
    refused(b"hello", "neither a zip archive nor");
    refused(&legacy(&vec![b'N'; 9 << 20], &[]), "longer than");
}

#[test]
fn tensors_that_reach_beyond_their_storage_are_refused_by_name() {
    let bytes = |file: &mut InMemory| all(file).unwrap();
    assert_eq!(bytes(&mut read(&one(tensor(4, 1, &[3], &[1]))).unwrap()), floats(&[2.0, 3.0, 4.0]));
    assert_eq!(bytes(&mut read(&one(tensor(4, 0, &[2, 1, 2], &[1, i64::MAX, 2]))).unwrap()), floats(&[1.0, 3.0, 2.0, 4.0]));
    for (offset, sizes, strides) in [
        (0, &[5][..], &[1][..]),
        (2, &[3], &[1]),
        (0, &[2, 2], &[3, 1]),
        (i64::MAX, &[1], &[1]),
        (0, &[i64::MAX, i64::MAX], &[1, 1]),
        (0, &[2], &[i64::MAX]),
        (0, &[3, 3], &[i64::MAX, i64::MAX]),
        (0, &[i64::MAX, 4, 0], &[1, 1, 1]),
    ] {
        refused(&one(tensor(4, offset, sizes, strides)), "tensor `w`: sizes");
    }
    refused(&one(tensor(2, 0, &[3], &[1])), "reach beyond its storage");
    refused(&one(tensor(4, 0, &[1000], &[0])), "shows numbers more than once");
    refused(&one(tensor(4, -1, &[1], &[1])), "a size or offset is -1");
    refused(&one(tensor(4, 0, &[2], &[-1])), "a size or offset is -1");
    refused(&one(tensor(4, 0, &[1], &[1, 1])), "1 sizes and 2 strides");
    refused(&one(tensor(4, 0, &[1; 65], &[1; 65])), "at most 64");
    refused(&legacy(&dict(&[("w", tensor(4, 0, &[4], &[1]))]), &[]), "its storage \"0\" is not in the file");
    refused(&legacy(&dict(&[("w", tensor(4, 0, &[4], &[1]))]), &[("0", 4, &four()[1..])]), "should end at byte");
    refused(&legacy(&dict(&[("w", tensor(4, 0, &[4], &[1]))]), &[("0", u64::MAX, &four())]), "has 18446744073709551615 numbers");
    refused(&legacy(&dict(&[("w", tensor(4, 0, &[4], &[1]))]), &[("0", 4, &four()), ("0", 4, &four())]), "comes twice");
    refused(&legacy(&dict(&[("w", tensor(4, 0, &[4], &[1]))]), &[("1", 4, &four())]), "\"1\" is not used");
    refused(&legacy(&dict(&[("w", tensor(4, 0, &[4], &[1])), ("w", tensor(4, 0, &[4], &[1]))]), &[("0", 4, &four())]), "`w` comes twice");
}

/// Old files name parts of other storages.
#[test]
fn a_part_of_a_storage_keeps_within_it() {
    let part = |offset: i64, count: i64, sizes: i64| {
        let view = tuple(&[text("1"), number(offset), number(count)]);
        let id = tuple(&[text("storage"), b"ctorch\nFloatStorage\n".to_vec(), text("0"), text("cpu"), number(4), view]);
        let arguments = tuple(&[[id, b"Q".to_vec()].concat(), number(0), numbers(&[sizes]), numbers(&[1])]);
        one([b"ctorch._utils\n_rebuild_tensor\n".to_vec(), arguments, b"R".to_vec()].concat())
    };
    assert_eq!(all(&mut read(&part(1, 2, 2)).unwrap()).unwrap(), floats(&[2.0, 3.0]));
    refused(&part(1, 2, 3), "reach beyond");
    refused(&part(3, 2, 2), "reach beyond");
    refused(&part(i64::MAX, i64::MAX, 2), "reach beyond");
}

/// Types that torch has no class of storages for come with bytes and a name (torch 2.3).
#[test]
fn new_types_are_read_from_untyped_storages() {
    let of = |dtype: &str| {
        let id = tuple(&[text("storage"), b"ctorch.storage\nUntypedStorage\n".to_vec(), text("0"), text("cpu"), number(4)]);
        let dtype = format!("ctorch\n{dtype}\n").into_bytes();
        let none = b"N".to_vec();
        let arguments = tuple(&[[id, b"Q".to_vec()].concat(), number(0), numbers(&[2]), numbers(&[1]), none.clone(), none, dtype]);
        let made = [b"ctorch._utils\n_rebuild_tensor_v3\n".to_vec(), arguments, b"R".to_vec()].concat();
        legacy(&dict(&[("w", made)]), &[("0", 4, &[1, 0, 2, 0])])
    };
    let file = read(&of("uint16")).unwrap();
    assert_eq!(file.tensors().collect::<Vec<_>>(), [("w", Dtype::U16, &[2][..])]);
    refused(&of("uint32"), "reach beyond");
    refused(&of("complex64"), "`torch.complex64`");
}

#[test]
fn depth_and_breadth_have_limits() {
    let nest = |depth: usize| {
        [b"\x80\x02".to_vec(), [b"}".to_vec(), text("a")].concat().repeat(depth), b"}".to_vec(), b"s".repeat(depth), b".".to_vec()].concat()
    };
    refused(&legacy(&nest(10), &[]), "no dictionary of tensors");
    let around = |depth: usize| {
        let (open, close) = ([b"}".to_vec(), text("a")].concat().repeat(depth), b"s".repeat(depth));
        one([open, tensor(4, 0, &[4], &[1]), close].concat())
    };
    assert!(read(&around(1)).is_ok());
    let key = |bytes: &[u8]| Checkpoint::read(Cursor::new(bytes.to_vec()), Some("w"));
    assert_eq!(key(&around(3)).unwrap().tensors().next().map(|(name, ..)| name.to_owned()).as_deref(), Some("a.a.a"));
    assert!(key(&around(30)).unwrap_err().contains("16 deep"));
    // A tuple in a tuple a million times, and a dictionary in itself.
    refused(&legacy(&[b"\x80\x02N".to_vec(), vec![0x85; 1 << 20], b".".to_vec()].concat(), &[]), "no dictionary");
    let own = legacy(&[b"\x80\x02}q\x00".to_vec(), text("w"), b"h\x00s.".to_vec()].concat(), &[]);
    assert!(key(&own).unwrap_err().contains("16 deep"));
    // Dictionaries of eight times the same dictionary: 8¹⁵ names if all were gone through.
    let mut again = b"\x80\x02}q\x000".to_vec();
    for _ in 0..15 {
        again.extend([b"}(".to_vec(), [text("a"), b"h\x00".to_vec()].concat().repeat(8), b"uq\x000".to_vec()].concat());
    }
    let again = [b"\x80\x02}".to_vec(), text("w"), again[2..].to_vec(), b"h\x00s.".to_vec()].concat();
    assert!(key(&legacy(&again, &[])).unwrap_err().contains("more than 131072"));
    let long = "n".repeat(2000);
    refused(&legacy(&dict(&[(&long, tensor(4, 0, &[4], &[1]))]), &[("0", 4, &four())]), "more than 1024 bytes");
    // Pairs that are copied again and again.
    let pairs = [
        b"\x80\x02](".to_vec(),
        b"NN\x86".repeat(1 << 16),
        b"eq\x00".to_vec(),
        b"ccollections\nOrderedDict\nh\x00\x85R".repeat(100),
        b".".to_vec(),
    ]
    .concat();
    refused(&legacy(&pairs, &[]), "copied more than");
    refused(&legacy(b"\x80\x02ccollections\nOrderedDict\n](NNe\x85R.", &[]), "no pair");
}

#[test]
fn a_small_file_does_not_become_a_huge_one() {
    let data = vec![0; 4 << 14];
    let many: Vec<(String, Vec<u8>)> = (0..20).map(|at| (format!("w{at}"), tensor(1 << 14, 0, &[1 << 14], &[1]))).collect();
    let entries: Vec<(&str, Vec<u8>)> = many.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
    assert!(read(&legacy(&dict(&entries[..8]), &[("0", 1 << 14, &data)])).is_ok());
    refused(&legacy(&dict(&entries), &[("0", 1 << 14, &data)]), "more than 8 times the file's");
}

#[test]
fn archives_that_are_not_torchs_are_refused() {
    let pickle = dict(&[("w", tensor(4, 0, &[4], &[1]))]);
    let good: [(&str, &[u8]); 2] = [("a/data.pkl", &pickle), ("a/data/0", &four())];
    assert_eq!(all(&mut read(&archive(&good)).unwrap()).unwrap(), four());
    refused(&archive(&[("a/readme", b"")]), "without a data.pkl");
    refused(&archive(&[good[0], ("b/data.pkl", &pickle)]), "2 data.pkl");
    refused(&archive(&good[..1]), "a/data/0");
    refused(&archive(&[good[0], ("a/data/0", &four()[..8])]), "reach beyond its storage of 8 bytes");
    assert!(read(&archive(&[good[0], good[1], ("a/byteorder", b"little")])).is_ok());
    refused(&archive(&[good[0], good[1], ("a/byteorder", b"big")]), "byte order \"big\"");
    // The storage's entry in the central directory, said to be compressed.
    let mut bytes = archive(&good);
    let at = bytes.windows(4).rposition(|window| window == b"PK\x01\x02").unwrap();
    bytes[at + 10] = 8;
    assert!(read(&bytes).is_err());
    refused(b"PK\x03\x04", "its zip archive");
    let mut big = legacy(&pickle, &[("0", 4, &four())]);
    let at = big.windows(2).position(|window| window == b"\x88s").unwrap();
    big[at] = 0x89;
    refused(&big, "byte order \"big\"");
}

/// Cut at every byte: an error, never a panic.
#[test]
fn every_truncation_is_refused() {
    for name in ["zip.pth", "legacy.pth", "checkpoint.pth"] {
        let whole = fs::read(path(name)).unwrap();
        for end in 0..whole.len() {
            assert!(read(&whole[..end]).is_err(), "{end} of {} bytes of {name}", whole.len());
        }
    }
}

#[test]
fn a_folder_is_no_file() {
    assert!(pth::open(&path(""), None).unwrap_err().to_string().contains("it is no regular file"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Changed anywhere, a file is refused or gives tensors of the sizes that it says; nothing panics.
    #[test]
    fn changes_do_no_harm(
        name in prop::sample::select(vec!["zip.pth", "legacy.pth", "checkpoint.pth"]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = fs::read(path(name)).unwrap();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(mut file) = read(&bytes) {
            let size = |(_, dtype, shape): (&str, Dtype, &[usize])| dtype.bitsize() / 8 * shape.iter().product::<usize>();
            let planned: usize = file.tensors().map(size).sum();
            prop_assert_eq!(all(&mut file).unwrap().len(), planned);
        }
    }
}
