;; The same as hello.c as text, which is deployed as it is: no compiler is needed.
;;
;;     synor compute function deploy --name hello --runtime wasm --code hello.wat \
;;       --trigger 'http:/hello/{name}'
(module
  (import "synor" "request_get" (func $get (param i32 i32 i32 i32) (result i32)))
  (import "synor" "response_status" (func $status (param i32) (result i32)))
  (import "synor" "response_header" (func $header (param i32 i32 i32 i32) (result i32)))
  (import "synor" "response_write" (func $write (param i32 i32)))
  (import "synor" "log" (func $log (param i32 i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "content-type")
  (data (i32.const 16) "text/plain; charset=utf-8")
  (data (i32.const 48) "hello, ")
  (data (i32.const 64) "\n")
  (data (i32.const 80) "whom?\n")
  (data (i32.const 96) "nobody was named")

  (func (export "synor_handle") (result i32)
    (local $at i32) (local $end i32)
    ;; the path, from 1024 on; at most 256 bytes of it
    (local.set $end (call $get (i32.const 2) (i32.const 0) (i32.const 1024) (i32.const 256)))
    (if (i32.gt_u (local.get $end) (i32.const 256)) (then (local.set $end (i32.const 256))))
    (local.set $end (i32.add (local.get $end) (i32.const 1024)))
    ;; its last segment begins behind the last '/'
    (local.set $at (local.get $end))
    (loop $back
      (if (i32.and (i32.gt_u (local.get $at) (i32.const 1024))
                   (i32.ne (i32.load8_u (i32.sub (local.get $at) (i32.const 1))) (i32.const 47)))
        (then (local.set $at (i32.sub (local.get $at) (i32.const 1))) (br $back))))
    (drop (call $header (i32.const 0) (i32.const 12) (i32.const 16) (i32.const 25)))
    (if (i32.eq (local.get $at) (local.get $end))
      (then
        (call $log (i32.const 2) (i32.const 96) (i32.const 16))
        (drop (call $status (i32.const 404)))
        (call $write (i32.const 80) (i32.const 6))
        (return (i32.const 0))))
    (call $write (i32.const 48) (i32.const 7))
    (call $write (local.get $at) (i32.sub (local.get $end) (local.get $at)))
    (call $write (i32.const 64) (i32.const 1))
    (i32.const 0)))
