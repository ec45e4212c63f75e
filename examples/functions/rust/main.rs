//! A function in Rust, of the standard library alone: a server for HTTP on $PORT.
//!
//!     rustc -O -o main main.rs
//!     synor compute function deploy --name hello --runtime rust --code main --trigger http:/hello
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

fn serve(stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or("/").to_string();
    let mut length = 0;
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? <= 2 {
            break;
        }
        if let Some((name, value)) = header.split_once(':') {
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    // Asked until it answers 200: then calls come.
    let text = if path == "/_synor/health" {
        "ok\n".to_string()
    } else {
        println!("{path}"); // what is printed is the function's log
        format!("Hello from Rust: {path}, {length} bytes\n")
    };
    write!(
        &stream,
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
        text.len()
    )
}

fn main() -> std::io::Result<()> {
    let port = std::env::var("PORT").unwrap_or("8080".into());
    for stream in TcpListener::bind(format!("0.0.0.0:{port}"))?.incoming() {
        if let Err(error) = stream.and_then(serve) {
            eprintln!("{error}");
        }
    }
    Ok(())
}
