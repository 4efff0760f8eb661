"""gRPC's own library on both sides of a gateway: `serve PORT` is the backend, `call HOST:PORT` the client, which prints what it got."""

import json
import sys
import threading
from concurrent import futures

import grpc

SERVICE = "shop.Orders"
gave_up = threading.Semaphore(0)


def one(request, context):
    if request == b"none":
        context.abort(grpc.StatusCode.NOT_FOUND, "no such order: 100% \N{SNOWMAN}")
    context.send_initial_metadata((("x-first", "1"),))
    context.set_trailing_metadata((("x-last-bin", b"\x00\xff"),))
    return b"got " + request


def many(request, _context):
    for number in range(int(request)):
        yield str(number).encode()


def gather(requests, _context):
    return b",".join(requests)


def chat(requests, _context):
    for request in requests:
        yield b"re: " + request


def forever(_request, context):
    over = threading.Event()
    context.add_callback(over.set)
    over.wait()
    gave_up.release()
    return b""


def given_up(_request, _context):
    return b"yes" if gave_up.acquire(timeout=20) else b"no"


def serve(port):
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    methods = {
        "One": grpc.unary_unary_rpc_method_handler(one),
        "Many": grpc.unary_stream_rpc_method_handler(many),
        "Gather": grpc.stream_unary_rpc_method_handler(gather),
        "Chat": grpc.stream_stream_rpc_method_handler(chat),
        "Forever": grpc.unary_unary_rpc_method_handler(forever),
        "GivenUp": grpc.unary_unary_rpc_method_handler(given_up),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


def refused(call):
    try:
        return f"answered {call()}"
    except grpc.RpcError as error:
        return [error.code().name, error.details()]


def in_turn(channel):
    """Each message waits for the answer to the one before."""
    answered = threading.Semaphore(1)

    def words():
        for word in (b"a", b"b", b"c"):
            answered.acquire()
            yield word

    heard = []
    for answer in channel.stream_stream(f"/{SERVICE}/Chat")(words(), timeout=20):
        heard.append(answer.decode())
        answered.release()
    return heard


def call(address, authority):
    with grpc.insecure_channel(address, options=[("grpc.default_authority", authority)]) as channel:
        method = f"/{SERVICE}/"
        unary = channel.unary_unary(method + "One")
        answer, told = unary.with_call(b"1", timeout=20)
        forever = channel.unary_unary(method + "Forever")
        deadline = refused(lambda: forever(b"", timeout=0.3))
        begun = forever.future(b"")
        begun.cancel()
        given_up = channel.unary_unary(method + "GivenUp")
        print(json.dumps({
            "one": answer.decode(),
            "first": dict(told.initial_metadata())["x-first"],
            "last": dict(told.trailing_metadata())["x-last-bin"].hex(),
            "none": refused(lambda: unary(b"none", timeout=20)),
            "many": [each.decode() for each in channel.unary_stream(method + "Many")(b"1000", timeout=20)][-1],
            "gather": channel.stream_unary(method + "Gather")(iter([b"a", b"b"]), timeout=20).decode(),
            "chat": in_turn(channel),
            "deadline": deadline[0],
            "given up": given_up(b"", timeout=30).decode(),
            "no method": refused(lambda: channel.unary_unary(method + "Nothing")(b"", timeout=20))[0],
            "no route": refused(lambda: channel.unary_unary("/shop.Others/One")(b"", timeout=20)),
            "no token": refused(lambda: channel.unary_unary("/shop.Closed/One")(b"", timeout=20)),
        }))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", port]:
            serve(port)
        case ["call", address, authority]:
            call(address, authority)
