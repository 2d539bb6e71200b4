"""`acgan worker`: one worker."""

import os

from app.cli.errors import fail_on, print_note, read_settings, require_posix, writing
from app.cli.options import Device, Home


def worker(home: Home = None, device: Device = None) -> None:
    """Run one worker for the jobs in the Redis at ACGAN_REDIS_URL. Run one for each GPU, with `--device cuda:1` etc."""
    require_posix()
    from worker.observability import log_config

    settings = read_settings(home=home, device=device)
    os.environ["ACGAN_DEVICE"] = settings.device  # worker.tasks reads it, and does not start without it
    os.environ.update(settings.absolute_paths())  # the training process reads these, too
    log_config.configure(settings)
    with writing(settings.home):
        os.chdir(settings.make_working_folder())  # not the user's: Celery imports from there
    from app.server.supervisor import answers
    from worker.jobs.consumer import JobConsumer
    from worker.tasks import celery

    if not answers(settings.redis_url):
        print_note("Redis does not respond yet, waiting for it: start it, or set ACGAN_REDIS_URL")
    else:
        with fail_on():
            JobConsumer.connect(settings.redis_url).check_eviction()
    quiet = ["--quiet"] if log_config.wants_json(settings) else []  # no banner among the JSON lines
    options = ["--loglevel", settings.log_level.upper(), "--without-gossip", "--without-mingle"]
    celery.worker_main([*quiet, "worker", *options])
