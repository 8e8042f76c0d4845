"""Measures a server under load; needs nothing outside Python's standard library. Run it on an otherwise idle machine:

    BLIP_PROGRAM=build/release/bin/blip BLIP_SOURCE=. python3 tests/server/load.py [--seconds 10] [--requests 10000] [--model PATH]

Prints one JSON object: requests per second of questions about one picture from one client and from eight, of captions of distinct
pictures from eight clients, the median of what HTTP adds to the model's own time, and the memory before and after many requests.
"""
import argparse
import json
import statistics
import threading
import time

from harness import MODEL, Server, b64, picture

CLIENTS = 8


def memory_mib(server):
    with open(f"/proc/{server.process.pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


class Client:
    def __init__(self, server):
        self.connection = server.connect()

    def post(self, path, body):
        """The answer and the milliseconds it took."""
        started = time.perf_counter()
        self.connection.request("POST", path, body, {"Content-Type": "application/json"})
        response = self.connection.getresponse()
        answer = response.read()
        taken = (time.perf_counter() - started) * 1000
        if response.status != 200:
            raise RuntimeError(answer.decode())
        return json.loads(answer), taken


def throughput(server, clients, seconds, path, body_of):
    """Requests per second of clients that send the next request when they have the answer."""
    until = time.perf_counter() + seconds
    counts = [0] * clients

    def work(i):
        client = Client(server)
        while time.perf_counter() < until:
            client.post(path, body_of(i, counts[i]))
            counts[i] += 1

    threads = [threading.Thread(target=work, args=(i,)) for i in range(clients)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - started)


def overhead_ms(server, body, requests):
    client = Client(server)
    extra = []
    for _ in range(requests):
        answer, taken = client.post("/v1/ask", body)
        extra.append(taken - answer["results"][0]["timings_ms"]["task"])
    return statistics.median(extra)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--model", default=MODEL)
    options = parser.parse_args()
    server = Server("-q", model=options.model)
    try:
        question = json.dumps({"image": b64(picture(0)), "question": "is there a cat?"})
        Client(server).post("/v1/ask", question)
        one = throughput(server, 1, options.seconds, "/v1/ask", lambda i, n: question)
        eight = throughput(server, CLIENTS, options.seconds, "/v1/ask", lambda i, n: question)
        # picture() repeats after 256 seeds; the comment makes each file distinct, so that none comes from the cache.
        captions = throughput(server, CLIENTS, options.seconds, "/v1/caption", lambda i, n: json.dumps({"image": b64(picture(n) + b"%d %d" % (i, n))}))
        overhead = overhead_ms(server, question, 100)
        before = memory_mib(server)
        client = Client(server)
        for _ in range(options.requests):
            client.post("/v1/ask", question)
        print(json.dumps({"ask_1_client_per_s": round(one, 2), "ask_8_clients_per_s": round(eight, 2), "ask_ratio": round(eight / one, 3),
                          "caption_8_clients_per_s": round(captions, 2), "http_overhead_median_ms": round(overhead, 3),
                          "memory_mib_before": round(before, 1), "memory_mib_after": round(memory_mib(server), 1), "requests": options.requests}))
    finally:
        server.stop()


if __name__ == "__main__":
    main()
