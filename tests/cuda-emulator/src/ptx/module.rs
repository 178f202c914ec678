//! The declarations of a module; bodies are left to [`body`](super::body).

use super::token::{Token, tokens};
use super::{Kernel, Module, Param, Space, Variable};

/// A position in a module's tokens.
pub(crate) struct Cursor<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn peek(&self) -> &'a str {
        self.tokens.get(self.at).map_or("", |token| token.text)
    }

    pub(crate) fn after(&self) -> &'a str {
        self.tokens.get(self.at + 1).map_or("", |token| token.text)
    }

    pub(crate) fn line(&self) -> u32 {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(0, |token| token.line)
    }

    pub(crate) fn next(&mut self) -> &'a str {
        let text = self.peek();
        self.at += 1;
        text
    }

    pub(crate) fn take(&mut self, text: &str) -> bool {
        let found = self.peek() == text;
        self.at += usize::from(found);
        found
    }

    pub(crate) fn expect(&mut self, text: &str) -> Result<(), String> {
        if self.take(text) { Ok(()) } else { Err(self.unexpected(text)) }
    }

    pub(crate) fn unexpected(&self, wanted: &str) -> String {
        format!("line {}: {:?} where {wanted:?} should be", self.line(), self.peek())
    }

    pub(crate) fn integer(&mut self) -> Result<u64, String> {
        let negative = self.take("-");
        let value = integer(self.peek()).ok_or_else(|| self.unexpected("a number"))?;
        self.at += 1;
        Ok(if negative { value.wrapping_neg() } else { value })
    }

    /// Skips a directive that ends with its line.
    pub(crate) fn skip_line(&mut self) {
        let line = self.line();
        while self.at < self.tokens.len() && self.line() == line {
            self.at += 1;
        }
    }
}

/// Reads `12`, `0x1F` and `7U`.
pub(crate) fn integer(text: &str) -> Option<u64> {
    let digits = text.strip_suffix('U').unwrap_or(text);
    match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => digits.parse().ok(),
    }
}

/// Ten times the major and the minor version a module begins with.
///
/// # Errors
/// If it begins otherwise.
pub(crate) fn version_of(text: &str) -> Result<u32, String> {
    let mut cursor = Cursor { tokens: tokens(text)?, at: 0 };
    if cursor.peek() == ".version" {
        version(&mut cursor)
    } else {
        Err(cursor.unexpected(".version"))
    }
}

/// Reads a module.
///
/// # Errors
/// The first line that is not understood.
pub(crate) fn parse(text: &str) -> Result<Module, String> {
    let mut cursor = Cursor { tokens: tokens(text)?, at: 0 };
    let mut module = Module::default();
    while !cursor.peek().is_empty() {
        match cursor.peek() {
            ".version" => {
                version(&mut cursor)?;
            }
            ".target" => module.arch = target(&mut cursor)?,
            ".address_size" => {
                cursor.next();
                cursor.expect("64")?;
            }
            ".file" => cursor.skip_line(),
            ".visible" | ".weak" | ".extern" if cursor.after() == ".entry" => {
                cursor.next();
            }
            ".entry" => module.kernels.push(kernel(&mut cursor)?),
            ".visible" | ".weak" | ".extern" | ".global" | ".const" | ".shared" => {
                module.variables.push(variable(&mut cursor)?);
            }
            _ => return Err(cursor.unexpected("a declaration")),
        }
    }
    Ok(module)
}

fn version(cursor: &mut Cursor<'_>) -> Result<u32, String> {
    cursor.next();
    let text = cursor.peek();
    let number = text.split_once('.').and_then(|(major, minor)| {
        Some(major.parse::<u32>().ok()? * 10 + minor.parse::<u32>().ok()?)
    });
    let number = number.ok_or_else(|| cursor.unexpected("a version"))?;
    cursor.next();
    Ok(number)
}

fn target(cursor: &mut Cursor<'_>) -> Result<u32, String> {
    cursor.next();
    let digits = cursor.peek().trim_start_matches("sm_").trim_end_matches(['a', 'f']);
    let arch = digits.parse().map_err(|_| cursor.unexpected("sm_NN"))?;
    cursor.skip_line();
    Ok(arch)
}

/// A variable's declaration with its `;`.
pub(crate) fn variable(cursor: &mut Cursor<'_>) -> Result<Variable, String> {
    let mut outside = false;
    let (mut space, mut align, mut width) = (None, 0, 0);
    while cursor.peek().starts_with('.') {
        match cursor.next() {
            ".extern" => outside = true,
            ".visible" | ".weak" | ".managed" => {}
            ".global" => space = Some(Space::Global),
            ".const" => space = Some(Space::Const),
            ".shared" => space = Some(Space::Shared),
            ".local" => space = Some(Space::Local),
            ".align" => align = cursor.integer()? as usize,
            kind => {
                width =
                    width_of(kind).ok_or_else(|| format!("line {}: type {kind}", cursor.line()))?
            }
        }
    }
    let mut space = space.ok_or_else(|| cursor.unexpected("a state space"))?;
    if outside && space != Space::Shared {
        return Err(format!("line {}: only shared memory may be extern", cursor.line()));
    }
    let name = cursor.next().to_owned();
    let mut size = width;
    while cursor.take("[") {
        if cursor.take("]") {
            space = Space::DynamicShared;
            size = 0;
        } else {
            size *= cursor.integer()? as usize;
            cursor.expect("]")?;
        }
    }
    let initial = if cursor.take("=") { initial(cursor, width)? } else { Vec::new() };
    cursor.expect(";")?;
    Ok(Variable { name, space, align: align.max(width).max(1), size, initial })
}

fn initial(cursor: &mut Cursor<'_>, width: usize) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let listed = cursor.take("{");
    loop {
        let text = cursor.peek();
        let bits = text.strip_prefix("0f").or_else(|| text.strip_prefix("0d"));
        let value = match bits.and_then(|hex| u64::from_str_radix(hex, 16).ok()) {
            Some(bits) => {
                cursor.next();
                bits
            }
            None => cursor.integer()?,
        };
        bytes.extend_from_slice(&value.to_le_bytes()[..width]);
        if !cursor.take(",") {
            break;
        }
    }
    if listed {
        cursor.expect("}")?;
    }
    Ok(bytes)
}

fn kernel(cursor: &mut Cursor<'_>) -> Result<Kernel, String> {
    cursor.expect(".entry")?;
    let mut kernel = Kernel { name: cursor.next().to_owned(), ..Kernel::default() };
    if cursor.take("(") {
        while !cursor.take(")") {
            param(cursor, &mut kernel)?;
            cursor.take(",");
        }
    }
    while cursor.peek() != "{" {
        match cursor.next() {
            ".maxntid" | ".reqntid" => {
                kernel.max_threads = cursor.integer()? as u32;
                while cursor.take(",") {
                    kernel.max_threads *= cursor.integer()? as u32;
                }
            }
            ".minnctapersm" | ".maxnreg" => {
                cursor.integer()?;
            }
            other => return Err(format!("line {}: directive {other}", cursor.line())),
        }
    }
    super::body::parse(cursor, &mut kernel)?;
    Ok(kernel)
}

/// `.param .u64 .ptr .align 1 name` or `.param .align 4 .b8 name[48]`.
fn param(cursor: &mut Cursor<'_>, kernel: &mut Kernel) -> Result<(), String> {
    cursor.expect(".param")?;
    let (mut align, mut width, mut pointer) = (0, 0, false);
    while cursor.peek().starts_with('.') {
        match cursor.next() {
            ".ptr" => pointer = true,
            ".global" | ".const" | ".shared" | ".local" if pointer => {}
            // A pointer's alignment is that of what it points to.
            ".align" if pointer => {
                cursor.integer()?;
            }
            ".align" => align = cursor.integer()? as usize,
            kind => {
                width =
                    width_of(kind).ok_or_else(|| format!("line {}: type {kind}", cursor.line()))?
            }
        }
    }
    let name = cursor.next().to_owned();
    let mut size = width;
    if cursor.take("[") {
        size *= cursor.integer()? as usize;
        cursor.expect("]")?;
    }
    let offset = kernel.param_bytes.next_multiple_of(align.max(width).max(1));
    kernel.param_bytes = offset + size;
    kernel.params.push(Param { name, offset, size });
    Ok(())
}

/// Bytes of a fundamental type, by its name with the dot.
pub(crate) fn width_of(kind: &str) -> Option<usize> {
    Some(match kind {
        ".b8" | ".u8" | ".s8" => 1,
        ".b16" | ".u16" | ".s16" | ".f16" | ".bf16" => 2,
        ".b32" | ".u32" | ".s32" | ".f32" | ".f16x2" | ".bf16x2" => 4,
        ".b64" | ".u64" | ".s64" | ".f64" => 8,
        _ => return None,
    })
}
