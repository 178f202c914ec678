//! The declarations of a module; bodies are left to [`body`](super::body).

use super::cursor::Cursor;
use super::variable::{variable, width_of};
use super::{Kernel, Module, Param};

/// Ten times the major and the minor version a module begins with.
///
/// # Errors
/// If it begins otherwise.
pub(crate) fn version_of(text: &str) -> Result<u32, String> {
    let mut cursor = Cursor::new(text)?;
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
    let mut cursor = Cursor::new(text)?;
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
