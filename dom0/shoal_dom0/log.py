"""Lines for /var/log/SMlog, where SM's own drivers write (syslog, local2). Never a secret: callers log names only."""

import os
import syslog

syslog.openlog("SM", syslog.LOG_PID, syslog.LOG_LOCAL2)


def info(text):
    syslog.syslog(syslog.LOG_INFO, "rbd: " + _one_line(text))


def error(text):
    syslog.syslog(syslog.LOG_ERR, "rbd: " + _one_line(text))


def bug(failure):
    """Where an unforeseen exception came from. Its own text is left out: it may quote what it failed on."""
    places, trace = [], failure.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append("%s:%d %s" % (os.path.basename(code.co_filename), trace.tb_lineno, code.co_name))
        trace = trace.tb_next
    error("%s at %s" % (type(failure).__name__, " > ".join(places)))


def _one_line(text):
    return text.replace("\n", " ").replace("\0", "?")[:2000]
