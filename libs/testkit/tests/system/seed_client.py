"""A consumer of the original, in another language: the folder of the module that protoc has made of the
original's message, and what kcat writes with the format "%p %o %S\\n%s" on the standard input.

Prints partition, offset, symbol, price and time of each record, as JSON.
"""
import json, sys

sys.path.insert(0, sys.argv[1])
from stock_pb2 import StockTick

assert [field.name for field in StockTick.DESCRIPTOR.fields] == ["symbol", "price", "timestamp"]
while line := sys.stdin.buffer.readline():
    partition, offset, size = map(int, line.split())
    tick = StockTick.FromString(sys.stdin.buffer.read(size))
    print(json.dumps([partition, offset, tick.symbol, tick.price, tick.timestamp]))
