"""The peers written in Python, each behind the same few methods, used as its documentation says."""

import itertools
from functools import partial

import work


class System:
    """A pool with two workers. A method that returns None says that there is no such way."""

    # The largest array that is put: pickled copies of larger ones would not fit into 6 GiB.
    bytes_max = 64 << 20
    # Whether `put` does something; otherwise arrays travel with the tasks that look at them.
    puts = False

    def call(self, links, seed):
        raise NotImplementedError

    def singly(self, tasks, links):
        raise NotImplementedError

    def batched(self, tasks, links):
        return None

    def put(self, source):
        # A view is another object: what is kept for the array itself is not found for it.
        self.held = source[:]

    def fill(self, length):
        """Makes an array known to both workers that is filled with its length."""
        self.put(work.make(length))

    def both(self, turn, part):
        raise NotImplementedError

    def release(self):
        self.held = None

    def result(self, length):
        raise NotImplementedError

    def stop(self):
        raise NotImplementedError

    held = None


class Futures(System):
    """Executors of the standard library's kind."""

    def __init__(self, executor):
        self.executor = executor

    def call(self, links, seed):
        return self.executor.submit(work.chain, links, seed).result()

    def singly(self, tasks, links):
        futures = [self.executor.submit(work.chain, links, seed) for seed in range(tasks)]
        return sum(future.result() for future in futures)

    def batched(self, tasks, links):
        step = partial(work.chain, links)
        # As multiprocessing.Pool cuts: four chunks a worker.
        return sum(self.executor.map(step, range(tasks), chunksize=max(tasks // 8, 1)))

    def both(self, turn, part):
        submit = self.executor.submit
        futures = [submit(work.look, turn, seat, part, self.held) for seat in range(2)]
        return [future.result() for future in futures]

    def result(self, length):
        return self.executor.submit(work.make, length).result()

    def stop(self):
        self.executor.shutdown(wait=True)


def process_pool_executor():
    from concurrent.futures import ProcessPoolExecutor

    return Futures(ProcessPoolExecutor(2))


def loky():
    from loky import get_reusable_executor

    return Futures(get_reusable_executor(max_workers=2, timeout=300))


class Pool(System):
    """multiprocessing.Pool, with arrays in multiprocessing.shared_memory."""

    bytes_max = 1 << 30
    puts = True

    def __init__(self):
        from multiprocessing import Pool as Processes
        from multiprocessing import resource_tracker

        # One tracker for all, or each worker's own would remove what it has only opened.
        resource_tracker.ensure_running()
        self.pool = Processes(2)

    def call(self, links, seed):
        return self.pool.apply(work.chain, (links, seed))

    def singly(self, tasks, links):
        results = [self.pool.apply_async(work.chain, (links, seed)) for seed in range(tasks)]
        return sum(result.get() for result in results)

    def batched(self, tasks, links):
        return sum(self.pool.map(partial(work.chain, links), range(tasks)))

    def put(self, source):
        import numpy

        numpy.copyto(self.hold(len(source)), source)

    def fill(self, length):
        self.hold(length).fill(float(length))

    def hold(self, length):
        import numpy
        from multiprocessing.shared_memory import SharedMemory

        self.held = SharedMemory(create=True, size=8 * length)
        return numpy.ndarray((length,), buffer=self.held.buf)

    def both(self, turn, part):
        name = self.held.name if self.held else None
        orders = [(turn, seat, part, name) for seat in range(2)]
        return self.pool.starmap(look_at_named, orders, chunksize=1)

    def release(self):
        self.held.close()
        self.held.unlink()
        self.held = None

    def result(self, length):
        import numpy
        from multiprocessing.shared_memory import SharedMemory

        memory = SharedMemory(name=self.pool.apply(make_named, (length,)))
        array = numpy.ndarray((length,), buffer=memory.buf)
        total = array.sum()
        del array
        memory.close()
        memory.unlink()
        return Sum(total)

    def stop(self):
        self.pool.close()
        self.pool.join()


class Sum:
    """What is left of an array that could only be read where it lay."""

    def __init__(self, total):
        self.total = total

    def sum(self):
        return self.total


_attached = None


def look_at_named(turn, seat, part, name):
    """A worker keeps the segment that it opened last."""
    import numpy
    from multiprocessing.shared_memory import SharedMemory

    global _attached
    if name is None:
        return work.look(turn, seat, part)
    if _attached is None or _attached.name != name:
        if _attached is not None:
            _attached.close()
        _attached = SharedMemory(name=name)
    return work.look(turn, seat, part, numpy.frombuffer(_attached.buf))


def make_named(length):
    import numpy
    from multiprocessing.shared_memory import SharedMemory

    memory = SharedMemory(create=True, size=8 * length)
    numpy.ndarray((length,), buffer=memory.buf).fill(float(length))
    memory.close()
    return memory.name


class Joblib(System):
    """joblib.Parallel, whose workers are loky's, and which maps large arguments."""

    bytes_max = 1 << 30

    def __init__(self):
        from joblib import Parallel, delayed

        self.delayed = delayed
        self.single = Parallel(n_jobs=2, batch_size=1)
        self.single.__enter__()

    def call(self, links, seed):
        return self.single([self.delayed(work.chain)(links, seed)])[0]

    def singly(self, tasks, links):
        step = self.delayed(work.chain)
        return sum(self.single(step(links, seed) for seed in range(tasks)))

    def batched(self, tasks, links):
        from joblib import Parallel

        step = self.delayed(work.chain)
        return sum(Parallel(n_jobs=2)(step(links, seed) for seed in range(tasks)))

    def both(self, turn, part):
        step = self.delayed(work.look)
        return self.single([step(turn, seat, part, self.held) for seat in range(2)])

    def result(self, length):
        return self.single([self.delayed(work.make)(length)])[0]

    def stop(self):
        from joblib.externals.loky import get_reusable_executor

        self.single.__exit__(None, None, None)
        get_reusable_executor().shutdown(wait=True)


class Mpire(System):
    """mpire, one pool for tasks and one for maps, and a new one for each array to be inherited."""

    bytes_max = 1 << 30

    def __init__(self):
        from mpire import WorkerPool

        self.new = partial(WorkerPool, n_jobs=2, keep_alive=True)
        self.tasks = self.new()
        self.maps = self.new(order_tasks=True)
        self.holder = None

    def call(self, links, seed):
        return self.tasks.apply(work.chain, (links, seed))

    def singly(self, tasks, links):
        results = [self.tasks.apply_async(work.chain, (links, seed)) for seed in range(tasks)]
        return sum(result.get() for result in results)

    def batched(self, tasks, links):
        return sum(self.maps.map(partial(work.chain, links), range(tasks), iterable_len=tasks))

    def put(self, source):
        self.holder = self.new(order_tasks=True, shared_objects=source)

    def both(self, turn, part):
        orders = [(turn, seat, part) for seat in range(2)]
        if self.holder:
            return self.holder.map(look_at_inherited, orders, chunk_size=1)
        return self.maps.map(work.look, orders, chunk_size=1)

    def release(self):
        self.holder.stop_and_join()
        self.holder = None

    def result(self, length):
        return self.tasks.apply(work.make, (length,))

    def stop(self):
        self.maps.stop_and_join()
        # A pool that was only asked by `apply` has workers, too; one that was not has none.
        self.tasks.stop_and_join()


def look_at_inherited(array, turn, seat, part):
    return work.look(turn, seat, part, array)


class Ray(System):
    """Ray, with two actors: faster than its tasks, and each array is looked at by both."""

    bytes_max = 1 << 30
    puts = True
    STORE_BYTES = 2560 << 20

    def __init__(self):
        import logging

        import ray

        self.ray = ray
        ray.init(num_cpus=2, include_dashboard=False, object_store_memory=self.STORE_BYTES,
                 logging_level=logging.ERROR, log_to_driver=False)

        class Worker:
            def chain(self, links, seed):
                return work.chain(links, seed)

            def look(self, turn, seat, part, array):
                return work.look(turn, seat, part, array)

            def make(self, length):
                return work.make(length)

        self.actors = [ray.remote(num_cpus=1)(Worker).remote() for _ in range(2)]

    def call(self, links, seed):
        return self.ray.get(self.actors[0].chain.remote(links, seed))

    def singly(self, tasks, links):
        turns = zip(range(tasks), itertools.cycle(self.actors))
        return sum(self.ray.get([actor.chain.remote(links, seed) for seed, actor in turns]))

    def put(self, source):
        self.held = self.ray.put(source)

    def both(self, turn, part):
        looks = [actor.look.remote(turn, seat, part, self.held)
                 for seat, actor in enumerate(self.actors)]
        return self.ray.get(looks)

    def result(self, length):
        return self.ray.get(self.actors[0].make.remote(length))

    def stop(self):
        self.ray.shutdown()


class Dask(System):
    """A LocalCluster of dask.distributed, one thread a process."""

    bytes_max = 1 << 30
    puts = True
    PARTS = 8

    def __init__(self):
        from distributed import Client, LocalCluster

        self.cluster = LocalCluster(n_workers=2, threads_per_worker=1, processes=True,
                                    dashboard_address=None, memory_limit=0)
        self.client = Client(self.cluster)
        self.client.wait_for_workers(2)
        self.addresses = sorted(self.client.scheduler_info(n_workers=-1)["workers"])

    def submit(self, function, *args, **options):
        return self.client.submit(function, *args, pure=False, **options)

    def call(self, links, seed):
        return self.submit(work.chain, links, seed).result()

    def singly(self, tasks, links):
        futures = [self.submit(work.chain, links, seed) for seed in range(tasks)]
        return sum(self.client.gather(futures))

    def batched(self, tasks, links):
        import dask.bag

        items = dask.bag.from_sequence(range(tasks), npartitions=self.PARTS)
        return sum(self.client.compute(items.map(partial(work.chain, links))).result())

    def put(self, source):
        self.held = self.client.scatter(source, broadcast=True, hash=False)

    def both(self, turn, part):
        futures = [self.submit(work.look, turn, seat, part, self.held, workers=[address])
                   for seat, address in enumerate(self.addresses)]
        return self.client.gather(futures)

    def result(self, length):
        return self.submit(work.make, length).result()

    def stop(self):
        self.client.close()
        self.cluster.close()


SYSTEMS = {
    "joblib": Joblib,
    "loky": loky,
    "multiprocessing.Pool": Pool,
    "ProcessPoolExecutor": process_pool_executor,
    "mpire": Mpire,
    "Ray": Ray,
    "Dask": Dask,
}
