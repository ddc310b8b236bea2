//! Pickles, read without executing anything.
//!
//! A pickle is a program for a machine with a stack, a memo and the right to call any function of Python. This machine has
//! the stack and the memo; of functions it knows those that torch's own files need ([`super::known`]), and it builds plain values
//! where Python would build objects. Opcodes: the comments of Python's `Lib/pickletools.py`; protocols 0 to 5 as far as torch
//! writes them.

use std::collections::HashMap;
use std::io::{self, Read};
use std::rc::Rc;

use super::known::{self, Known};
use super::view::{Storage, View};

/// The longest pickle that is read. A network's takes some hundred bytes a tensor.
const LONGEST: u64 = 8 << 20;
/// The most values that calls may copy.
const MOST_COPIES: usize = 1 << 22;
/// The longest whole number, in bytes.
const LONGEST_NUMBER: usize = 16;

/// A value on the stack. What can hold others lies in the arena, so that values are small and nothing is dropped recursively.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Bool(bool),
    Int(i128),
    Text(Rc<str>),
    /// A tuple or a list.
    Items(usize),
    Dict(usize),
    Storage(usize),
    Tensor(usize),
    Known(Known),
    /// Something that no tensor depends on: None, a float, bytes, a set, a namespace.
    Other,
}

/// What values refer to.
#[derive(Debug)]
enum Node {
    Items(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    Storage(Storage),
    Tensor(View),
}

/// All values of a pickle.
#[derive(Debug, Default)]
pub(super) struct Arena(Vec<Node>);

impl Arena {
    pub fn items(&self, value: &Value) -> Option<&[Value]> {
        match value {
            Value::Items(at) => match self.0.get(*at) {
                Some(Node::Items(items)) => Some(items),
                _ => None,
            },
            _ => None,
        }
    }

    pub fn entries(&self, value: &Value) -> Option<&[(Value, Value)]> {
        match value {
            Value::Dict(at) => match self.0.get(*at) {
                Some(Node::Dict(entries)) => Some(entries),
                _ => None,
            },
            _ => None,
        }
    }

    pub fn tensor(&self, value: &Value) -> Option<&View> {
        match value {
            Value::Tensor(at) => match self.0.get(*at) {
                Some(Node::Tensor(view)) => Some(view),
                _ => None,
            },
            _ => None,
        }
    }

    pub fn storage(&self, value: &Value) -> Option<&Storage> {
        match value {
            Value::Storage(at) => match self.0.get(*at) {
                Some(Node::Storage(storage)) => Some(storage),
                _ => None,
            },
            _ => None,
        }
    }

    /// All storages that the pickle names.
    pub fn storages(&self) -> impl Iterator<Item = &Storage> {
        self.0.iter().filter_map(|node| match node {
            Node::Storage(storage) => Some(storage),
            _ => None,
        })
    }

    fn add(&mut self, node: Node) -> usize {
        self.0.push(node);
        self.0.len() - 1
    }

    pub fn add_items(&mut self, items: Vec<Value>) -> Value {
        Value::Items(self.add(Node::Items(items)))
    }

    fn add_dict(&mut self, entries: Vec<(Value, Value)>) -> Value {
        Value::Dict(self.add(Node::Dict(entries)))
    }
}

/// Reads one pickle; the reader stands behind it afterwards. The pickle's value, and what it refers to.
pub(super) fn read(from: &mut impl Read) -> Result<(Value, Arena), String> {
    let mut machine =
        Machine { from: from.take(LONGEST), stack: vec![], marks: vec![], memo: HashMap::new(), arena: Arena::default(), copied: 0 };
    while !machine.step()? {}
    let value = machine.pop()?;
    Ok((value, machine.arena))
}

struct Machine<R> {
    from: io::Take<R>,
    stack: Vec<Value>,
    /// Heights of the stack where a list of values began.
    marks: Vec<usize>,
    memo: HashMap<u64, Value>,
    arena: Arena,
    copied: usize,
}

impl<R: Read> Machine<R> {
    /// Does what one opcode says; true for the last.
    fn step(&mut self) -> Result<bool, String> {
        let opcode = self.byte()?;
        match opcode {
            b'.' => return Ok(true),
            // Frames and versions change nothing for a reader.
            0x80 => match self.byte()? {
                ..=5 => {}
                version => return Err(format!("its pickle has protocol {version}, 5 is the highest known")),
            },
            0x95 => drop(self.array::<8>()?),

            b'(' => self.marks.push(self.stack.len()),
            b'0' => match self.marks.last() == Some(&self.stack.len()) {
                true => drop(self.marks.pop()),
                false => drop(self.pop()?),
            },
            b'1' => drop(self.pop_mark()?),

            b'N' => self.stack.push(Value::Other),
            0x88 | 0x89 => self.stack.push(Value::Bool(opcode == 0x88)),
            b'J' => {
                let number = i32::from_le_bytes(self.array()?);
                self.stack.push(Value::Int(number.into()));
            }
            b'K' => {
                let number = self.byte()?;
                self.stack.push(Value::Int(number.into()));
            }
            b'M' => {
                let number = u16::from_le_bytes(self.array()?);
                self.stack.push(Value::Int(number.into()));
            }
            0x8a => {
                let length = self.byte()?;
                let number = whole(&self.bytes(length.into())?);
                self.stack.push(number);
            }
            b'G' => {
                self.array::<8>()?;
                self.stack.push(Value::Other);
            }

            b'X' => self.text(4)?,
            0x8c => self.text(1)?,
            0x8d => self.text(8)?,
            // Strings of Python 2 are bytes, and names.
            b'T' => self.text(4)?,
            b'U' => self.text(1)?,
            b'C' => self.skip(1)?,
            b'B' => self.skip(4)?,
            0x8e | 0x96 => self.skip(8)?,

            b')' => self.tuple(0)?,
            0x85 => self.tuple(1)?,
            0x86 => self.tuple(2)?,
            0x87 => self.tuple(3)?,
            b't' | b'l' => {
                let items = self.pop_mark()?;
                let items = self.arena.add_items(items);
                self.stack.push(items);
            }
            b']' => self.tuple(0)?,
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' => {
                let items = self.pop_mark()?;
                self.append(items)?;
            }
            b'}' => self.dict(vec![])?,
            b'd' => {
                let items = self.pop_mark()?;
                self.dict(items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(vec![key, value])?;
            }
            b'u' => {
                let items = self.pop_mark()?;
                self.set(items)?;
            }
            // Sets.
            0x8f => self.stack.push(Value::Other),
            0x90 => drop(self.pop_mark()?),
            0x91 => {
                self.pop_mark()?;
                self.stack.push(Value::Other);
            }

            b'q' => {
                let at = self.byte()?;
                self.put(at.into())?;
            }
            b'r' => {
                let at = u32::from_le_bytes(self.array()?);
                self.put(at.into())?;
            }
            0x94 => self.put(self.memo.len() as u64)?,
            b'h' => {
                let at = self.byte()?;
                self.get(at.into())?;
            }
            b'j' => {
                let at = u32::from_le_bytes(self.array()?);
                self.get(at.into())?;
            }

            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.stack.push(Value::Known(known::find(&module, &name)?));
            }
            0x93 => {
                let (Value::Text(name), Value::Text(module)) = (self.pop()?, self.pop()?) else {
                    return Err("it refers to something whose name is no text".to_owned());
                };
                self.stack.push(Value::Known(known::find(&module, &name)?));
            }
            b'R' | 0x81 => {
                let (arguments, called) = (self.pop()?, self.pop()?);
                let made = self.call(&called, &arguments)?;
                self.stack.push(made);
            }
            // An object's own state: no tensor of a state dict depends on it.
            b'b' => drop(self.pop()?),
            b'Q' => {
                let id = self.pop()?;
                let storage = known::storage(&self.arena, &id)?;
                let storage = Value::Storage(self.arena.add(Node::Storage(storage)));
                self.stack.push(storage);
            }
            _ => return Err(format!("its pickle has the opcode 0x{opcode:02x}, which torch does not write")),
        }
        Ok(false)
    }

    /// What a call makes.
    fn call(&mut self, called: &Value, arguments: &Value) -> Result<Value, String> {
        let Value::Known(known) = called else { return Err("it calls something that is no function".to_owned()) };
        let Some(items) = self.arena.items(arguments) else { return Err(format!("it calls {known} without a list of arguments")) };
        match known {
            Known::Dict => {
                let entries = match items {
                    [] => vec![],
                    [pairs, ..] => {
                        let pairs = pairs.clone();
                        self.pairs(&pairs)?
                    }
                };
                Ok(self.arena.add_dict(entries))
            }
            Known::Tensor | Known::TensorOfType => {
                let view = View::from_arguments(&self.arena, items, *known == Known::TensorOfType)?;
                Ok(Value::Tensor(self.arena.add(Node::Tensor(view))))
            }
            Known::First => Ok(items.first().cloned().unwrap_or(Value::Other)),
            Known::Subclass => match items {
                [function @ Value::Known(Known::Tensor | Known::TensorOfType | Known::First), _, inner, ..] => {
                    let (function, inner) = (function.clone(), inner.clone());
                    self.call(&function, &inner)
                }
                _ => Err("a tensor of a class of its own is made by an unknown function".to_owned()),
            },
            Known::Storage(_) | Known::Type(_) | Known::Harmless => Ok(Value::Other),
        }
    }

    /// The entries of a list of pairs, as Python 2 wrote ordered dictionaries.
    fn pairs(&mut self, pairs: &Value) -> Result<Vec<(Value, Value)>, String> {
        let pairs = self.arena.items(pairs).unwrap_or(&[]);
        self.copied += pairs.len();
        if self.copied > MOST_COPIES {
            return Err(format!("its dictionaries are copied more than {MOST_COPIES} times"));
        }
        pairs
            .iter()
            .map(|pair| match self.arena.items(pair) {
                Some([key, value]) => Ok((key.clone(), value.clone())),
                _ => Err("a dictionary is made of something that is no pair".to_owned()),
            })
            .collect()
    }

    fn tuple(&mut self, length: usize) -> Result<(), String> {
        let begin = self.stack.len().checked_sub(length).filter(|&begin| begin >= self.floor()).ok_or_else(too_few)?;
        let items = self.stack.split_off(begin);
        let items = self.arena.add_items(items);
        self.stack.push(items);
        Ok(())
    }

    fn dict(&mut self, items: Vec<Value>) -> Result<(), String> {
        let dict = self.arena.add_dict(vec![]);
        self.stack.push(dict);
        self.set(items)
    }

    /// Adds to the list on the top of the stack.
    fn append(&mut self, more: Vec<Value>) -> Result<(), String> {
        match self.stack.last() {
            Some(Value::Items(at)) => match self.arena.0.get_mut(*at) {
                Some(Node::Items(items)) => items.extend(more),
                _ => return Err(too_few()),
            },
            Some(Value::Other) => {}
            _ => return Err("it adds values to something that is no list".to_owned()),
        }
        Ok(())
    }

    /// Adds keys and values, in turn, to the dictionary on the top of the stack.
    fn set(&mut self, more: Vec<Value>) -> Result<(), String> {
        if more.len() % 2 == 1 {
            return Err("a dictionary has a key without a value".to_owned());
        }
        match self.stack.last() {
            Some(Value::Dict(at)) => {
                if let Some(Node::Dict(entries)) = self.arena.0.get_mut(*at) {
                    let mut more = more.into_iter();
                    while let (Some(key), Some(value)) = (more.next(), more.next()) {
                        entries.push((key, value));
                    }
                }
            }
            Some(Value::Other) => {}
            _ => return Err("it adds entries to something that is no dictionary".to_owned()),
        }
        Ok(())
    }

    fn put(&mut self, at: u64) -> Result<(), String> {
        let value = self.stack.last().cloned().ok_or_else(too_few)?;
        self.memo.insert(at, value);
        Ok(())
    }

    fn get(&mut self, at: u64) -> Result<(), String> {
        let value = self.memo.get(&at).cloned().ok_or_else(|| format!("its pickle refers to value {at}, which is not there"))?;
        self.stack.push(value);
        Ok(())
    }

    /// Nothing below the last mark may be taken singly.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Result<Value, String> {
        match self.stack.len() > self.floor() {
            true => self.stack.pop().ok_or_else(too_few),
            false => Err(too_few()),
        }
    }

    fn pop_mark(&mut self) -> Result<Vec<Value>, String> {
        let begin = self.marks.pop().filter(|&begin| begin <= self.stack.len()).ok_or_else(too_few)?;
        Ok(self.stack.split_off(begin))
    }

    fn byte(&mut self) -> Result<u8, String> {
        Ok(self.array::<1>()?[0])
    }

    fn array<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], String> {
        let mut bytes = [0; LENGTH];
        self.from.read_exact(&mut bytes).map_err(|error| self.ends(&error))?;
        Ok(bytes)
    }

    /// As many bytes, which are allocated only as they come.
    fn bytes(&mut self, length: u64) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        let read = self.from.by_ref().take(length).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
        match read as u64 == length {
            true => Ok(bytes),
            false => Err(self.ends(&io::ErrorKind::UnexpectedEof.into())),
        }
    }

    fn ends(&self, error: &io::Error) -> String {
        match error.kind() {
            io::ErrorKind::UnexpectedEof if self.from.limit() == 0 => format!("its pickle is longer than {LONGEST} bytes"),
            io::ErrorKind::UnexpectedEof => "its pickle ends in the middle".to_owned(),
            _ => error.to_string(),
        }
    }

    /// A length of so many bytes.
    fn length(&mut self, bytes: usize) -> Result<u64, String> {
        let mut length = [0; 8];
        for byte in length.iter_mut().take(bytes) {
            *byte = self.byte()?;
        }
        Ok(u64::from_le_bytes(length))
    }

    fn text(&mut self, length: usize) -> Result<(), String> {
        let length = self.length(length)?;
        let text = String::from_utf8(self.bytes(length)?);
        self.stack.push(text.map_or(Value::Other, |text| Value::Text(text.into())));
        Ok(())
    }

    fn skip(&mut self, length: usize) -> Result<(), String> {
        let length = self.length(length)?;
        self.bytes(length)?;
        self.stack.push(Value::Other);
        Ok(())
    }

    fn line(&mut self) -> Result<String, String> {
        let mut line = Vec::new();
        loop {
            match self.byte()? {
                b'\n' => return String::from_utf8(line).map_err(|_| "it refers to a name that is no UTF-8".to_owned()),
                byte => line.push(byte),
            }
        }
    }
}

/// A whole number in two's complement, lowest byte first.
fn whole(bytes: &[u8]) -> Value {
    if bytes.len() > LONGEST_NUMBER {
        return Value::Other;
    }
    let negative = bytes.last().is_some_and(|last| last & 0x80 != 0);
    let mut number = [if negative { 0xff } else { 0 }; LONGEST_NUMBER];
    number[..bytes.len()].copy_from_slice(bytes);
    Value::Int(i128::from_le_bytes(number))
}

fn too_few() -> String {
    "its pickle takes values that are not there".to_owned()
}
