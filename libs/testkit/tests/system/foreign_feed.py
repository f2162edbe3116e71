"""A feed that shares nothing with the project, on a bad day: PORT and how many trades there are.

Frames 0, 1, 2 … of one to four trades, one after the other; between them garbage. The connection is
dropped every few hundred frames. What a client may not have read is sent again: the place moves on
only over a closing handshake, which says that all before it was read.
"""
import asyncio, itertools, json, sys
import websockets

PORT, TRADES = int(sys.argv[1]), int(sys.argv[2])
SYMBOLS = ["AAPL", "BINANCE:BTCUSDT", "IC MARKETS:1"]
FRAMES_A_CONNECTION, START = 300, 1610064000000
GOOD = {"s": "AAPL", "p": 1, "t": START, "v": 1}
GARBAGE = [
    b"\x00\xff\xfe binary", "", "not json", "[" * 5000, "null", '{"type":"trade","data":7}', '{"data":[]}',
    '{"type":"news","data":[{"headline":"x"}]}', '{"type":"error","msg":"Subscribing to too many symbols"}',
    '{"type":"trade","data":[{"s":"AAPL","p":1,"t":16100', '{"type":"trade","data":[{"s":"AAPL","p":NaN,"t":1}]}',
] + [
    json.dumps({"type": "trade", "data": [{**GOOD, **bad}]})
    for bad in [{"p": 0}, {"p": -1}, {"p": "1"}, {"s": ""}, {"s": "A" * 65}, {"s": "A\n"}, {"s": None}, {"t": 0},
                {"t": "now"}, {"t": 1.5}, {"t": 32503680000000}, {"v": -1}, {"v": []}, {"c": 5}]
]


def trade(n):
    conditions = [None, [], ["1", "12"]][n % 3]
    return {"c": conditions, "p": 100 + n / 100, "s": SYMBOLS[n % 7 % 3], "t": START + n, "v": n % 5, "x": {"y": [n]}}


def frames():
    first = 0
    for size in itertools.cycle([1, 2, 3, 4]):
        data = [trade(n) for n in range(first, min(first + size, TRADES))]
        frame = {"data": data, "type": "trade"} if size % 2 else {"type": "trade", "data": data}
        yield json.dumps(frame, indent=size - 1 or None, sort_keys=size == 4)
        first += size
        if first >= TRADES:
            return


FRAMES, place, connections = list(frames()), 0, itertools.count()


async def client(socket):
    global place
    number, wanted = next(connections), set()
    while wanted != set(SYMBOLS):
        wanted.add(json.loads(await socket.recv())["symbol"])
    batch = FRAMES[place : place + FRAMES_A_CONNECTION]
    for index, text in enumerate(batch):
        await socket.send(GARBAGE[index % len(GARBAGE)])
        await socket.send([text[:9], text[9:40], text[40:]] if index % 5 == 0 else text)
    if number % 3 == 1:
        socket.transport.abort()  # the line is cut, and with it what was still under way
    elif number % 3 == 2:
        await socket.send("x" * 2_000_000)  # longer than anyone should take
        await socket.wait_closed()
    elif place + len(batch) < len(FRAMES):
        await socket.close()
        place += len(batch)
    else:
        print("all sent", flush=True)
        await socket.wait_closed()


async def main():
    async with websockets.serve(client, "127.0.0.1", PORT, compression=None):
        print("listening", flush=True)
        await asyncio.Future()


asyncio.run(main())
