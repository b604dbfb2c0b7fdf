"""Predict tables on a Spark cluster of two workers on this machine; see test_spark.py.

Reads JSON from standard input: jobs, and perhaps a program. Writes what it found out.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any


def make_session() -> Any:
    from pyspark.sql import SparkSession

    settings = {
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.executor.memory": "1g",
        "spark.executorEnv.OMP_NUM_THREADS": "1",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.sql.shuffle.partitions": "4",
        "spark.scheduler.minRegisteredResourcesRatio": "1.0",  # wait for both workers
        "spark.log.level": "ERROR",
        "spark.hadoop.fs.defaultFS": "file:///",
    }
    builder = SparkSession.builder.master("local-cluster[2,1,1024]")
    for name, value in settings.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def predict(spark: Any, job: dict[str, Any]) -> float:
    """Predict one table into a file; seconds of the cluster's work."""
    import mlflow.pyfunc
    from pyspark.sql import functions

    spark.conf.set("spark.sql.session.timeZone", job.get("zone", "UTC"))
    rows = spark.read.parquet(job["rows"]).repartition(job.get("partitions", 4))
    predict = mlflow.pyfunc.spark_udf(
        spark, job["model"], result_type=job.get("result_type"), env_manager="local"
    )
    names = [name for name in rows.columns if name != "id"]
    start = time.perf_counter()
    scored = rows.select("id", predict(functions.struct(*names)).alias("prediction"))
    scored.write.mode("overwrite").parquet(job["output"])
    return time.perf_counter() - start


def family() -> set[str]:
    """Numbers of this process and of all that it started, and those started."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text()
        except OSError:
            continue  # it just ended
        parents[folder.name] = stat.rpartition(")")[2].split()[1]
    found = {str(os.getpid())}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def addresses() -> list[str]:
    """Where these processes listen, in the kernel's own hexadecimal."""
    sockets = set()
    for pid in family():
        try:
            links = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()]
        except OSError:
            continue
        sockets |= {link[8:-1] for link in links if link.startswith("socket:[")}
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and words[9] in sockets:
                found.add(words[1].partition(":")[0])
    return sorted(found)


def main() -> None:
    asked = json.load(sys.stdin)
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    os.environ["SPARK_LOCAL_DIRS"] = tempfile.gettempdir()
    os.environ["PYSPARK_PYTHON"] = sys.executable
    # pyspark 4.3 says that it does not fully support pandas 3; what is used of it here, it does
    warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)
    spark = make_session()
    try:
        seconds = [predict(spark, job) for job in asked["jobs"]]
        # a page's program, which takes the session that is there
        exec(asked.get("program", ""), {"__name__": "__main__"})
        # the driver is among them
        workers = spark.sparkContext._jsc.sc().getExecutorMemoryStatus().size() - 1
        listening = addresses()
    finally:
        spark.stop()
    json.dump({"seconds": seconds, "workers": workers, "listening": listening}, sys.stdout)


if __name__ == "__main__":
    main()
