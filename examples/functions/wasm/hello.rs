// The same in Rust, without a runtime:
//
//     rustc --edition 2021 --target wasm32-unknown-unknown -O -C strip=symbols \
//         --crate-type cdylib hello.rs
#![no_std]

#[link(wasm_import_module = "synor")]
extern "C" {
    fn request_get(part: i32, from: u32, at: *mut u8, cap: u32) -> i32;
    fn response_status(status: i32) -> i32;
    fn response_header(name: *const u8, name_size: u32, value: *const u8, value_size: u32) -> i32;
    fn response_write(at: *const u8, size: u32);
    fn log(level: i32, text: *const u8, size: u32);
}

const PATH: i32 = 2;
const WARNING: i32 = 2;

fn write(text: &[u8]) {
    unsafe { response_write(text.as_ptr(), text.len() as u32) }
}

#[no_mangle]
pub extern "C" fn synor_handle() -> i32 {
    let mut path = [0u8; 256];
    let size = unsafe { request_get(PATH, 0, path.as_mut_ptr(), path.len() as u32) };
    let path = &path[..(size.max(0) as usize).min(path.len())];
    let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or(b"");
    let (key, value) = (b"content-type", b"text/plain; charset=utf-8");

    unsafe {
        response_header(key.as_ptr(), key.len() as u32, value.as_ptr(), value.len() as u32);
    }
    if name.is_empty() {
        let said = b"nobody was named";
        unsafe {
            log(WARNING, said.as_ptr(), said.len() as u32);
            response_status(404);
        }
        write(b"whom?\n");
        return 0;
    }
    write(b"hello, ");
    write(name);
    write(b"\n");
    0
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    core::arch::wasm32::unreachable()
}
