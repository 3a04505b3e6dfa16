// style.css by lines, NULL-terminated; the build makes it.
#ifndef DAPT_REPORT_STYLE_H
#define DAPT_REPORT_STYLE_H
extern const char *const dapt_report_style[];
#endif
