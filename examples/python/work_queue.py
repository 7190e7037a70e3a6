"""Several worker processes empty a queue. Exactly one of them takes each job."""

import multiprocessing
import os
import tempfile

from dolium import Cache

JOBS, WORKERS = 100, 3


def work(directory: str) -> None:
    with Cache(directory) as cache:
        while True:
            # If the process is killed inside this block, the job stays in the queue.
            with cache.transact():
                _, job = cache.pull(prefix="jobs")
                if job is None:
                    return
                cache.set(f"result-{job}", job * job, tag="results")
                cache.incr(f"worker-{os.getpid()}")


def main(directory: str) -> None:
    with Cache(directory) as cache:
        for job in range(JOBS):
            cache.push(job, prefix="jobs")

        context = multiprocessing.get_context("spawn")
        workers = [context.Process(target=work, args=(directory,)) for _ in range(WORKERS)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
            assert worker.exitcode == 0

        print({key: cache[key] for key in cache.keys(prefix="worker-")})
        assert len(list(cache.keys(tag="results"))) == JOBS
        assert cache["result-9"] == 81


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        main(directory)
